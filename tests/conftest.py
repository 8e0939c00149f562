"""Strict settings for every test: no silent rank promotion, two CPU devices wherever the tests run."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # for processes that tests start
# Most of the tests' time is XLA's, for programs that run once. Flags that are set already win; processes that tests
# start share them, as their bits are compared with those trained here.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

COMPILED = tempfile.mkdtemp(prefix="jaxsparse-tests-")  # tests compile much alike
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
jax.config.update("jax_enable_compilation_cache", True)
jax.config.update("jax_compilation_cache_dir", COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

LONG = """
architectures batra bench claims cli data dynamics ends experiments explorer export goes grid layers models noise
optimizers origin own placement precision pruning_command pruning_training random_programs readme rounding selectivity
shrink shrink_check shrink_command shrink_training sparsity start streaming theory thinning thresholding train units
yaguchi2018
"""
"""Files with more than some twenty seconds of tests; the others are what `pytest -m fast` runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        apart = any(item.get_closest_marker(name) for name in ("slow", "faults"))
        if not apart and item.path.stem.removeprefix("test_") not in LONG.split():
            item.add_marker(pytest.mark.fast)
