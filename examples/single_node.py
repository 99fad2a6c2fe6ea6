"""The library in one process: no server, no files.

python -m examples.single_node
"""

from chronos_common.engine.local import optimize
from chronos_common.outer import OuterConfig
from examples.ridge import Ridge

problem = Ridge()
result = optimize(
    problem,
    estimator="implicit",
    outer=OuterConfig(name="adam", learning_rate=0.1),
    versions=100,
    inner_steps=50,
)
first, last = result.history[0].metrics["outer_loss"], result.history[-1].metrics["outer_loss"]
print(f"validation loss {first:.4f} -> {last:.4f} after {result.version} outer steps")
print("weight decay of the useful features: ", result.outer["decay"][:10].mean().item())
print("weight decay of the irrelevant ones: ", result.outer["decay"][10:].mean().item())
