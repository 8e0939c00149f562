"""Strict settings for every test: no silent rank promotion, two CPU devices wherever the tests run."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # for processes that tests start

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

COMPILED = tempfile.mkdtemp(prefix="jaxsparse-tests-")  # tests compile much alike
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
jax.config.update("jax_enable_compilation_cache", True)
jax.config.update("jax_compilation_cache_dir", COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
