"""Large weights: how much memory building, saving and running take, and what comes out.

Every measurement is of a process of its own, since a peak never goes down again. `full` measures weights beyond
protobuf's limit; the default run a tenth of that, with the same paths chosen by hand.
"""

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
import graphdsl as gd
from graphdsl import op

def memory(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

size, folder = int(sys.argv[1]), Path(sys.argv[2])
before = memory("VmRSS")
rows = size // 4000
weight = np.empty((rows, 1000), np.float32)
weight[:] = np.arange(rows, dtype=np.float32)[:, None]

def picking():
    rows_wanted = gd.input("rows", gd.int64["k"])
    return gd.build({"picked": op.Gather(gd.constant(weight, "table"), rows_wanted)})

def picked(found):
    assert found.tolist() == [[0] * 1000, [rows - 1] * 1000], found

"""
"""What every measured program starts with; at its end it prints the peak as a multiple of the weight's size."""

REPORT = """
print((memory("VmHWM") - before) / weight.nbytes)
"""


def peak(body: str, size: float, folder: Path) -> float:
    """The most memory that a program took, as a multiple of the weight that it makes, the weight included."""
    command = [sys.executable, "-c", PROGRAM + body + REPORT, str(int(size)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


SIZES = [pytest.param(2.5e8, id="250MB"), pytest.param(2.5e9, id="2.5GB", marks=pytest.mark.full)]
"""The small size is below every limit, so the programs ask for what the large one gets by itself."""


def test_the_measurement_counts_the_weight_and_every_copy(tmp_path: Path) -> None:
    assert 1 < peak("", 1e8, tmp_path) < 1.2
    assert 2 < peak("kept = weight.copy()", 1e8, tmp_path) < 2.2
    assert peak("kept = gd.build({'y': op.Neg(weight)}).to_proto().SerializeToString()", 1e8, tmp_path) > 3


def test_a_program_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        peak("1 / 0", 1e6, tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_building_and_printing_copy_nothing(size: float, tmp_path: Path) -> None:
    body = "model = picking(); print(model, file=sys.stderr); assert model['table'].value.base is not None"
    assert peak(body, size, tmp_path) < 1.1


@pytest.mark.parametrize("size", SIZES)
def test_saving_beside_the_model_copies_nothing(size: float, tmp_path: Path) -> None:
    body = "picking().save(folder / 'm.onnx', external_data=None if size > 2**31 else True)"
    assert peak(body, size, tmp_path) < 1.2
    assert (tmp_path / "m.onnx").stat().st_size < 1000
    assert (tmp_path / "m.onnx.data").stat().st_size == size
    check = """
del weight
session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
picked(session.run(None, {"rows": np.array([0, rows - 1])})[0])
weight = np.empty(1)
"""
    peak(check, size, tmp_path)
    (tmp_path / "m.onnx.data").unlink()


def test_saving_in_the_model_copies_nothing_either(tmp_path: Path) -> None:
    assert peak("picking().save(folder / 'm.onnx')", 2.5e8, tmp_path) < 1.2
    assert 2.5e8 < (tmp_path / "m.onnx").stat().st_size < 2.5e8 + 1000
    (tmp_path / "m.onnx").unlink()


current_runtime = pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31), reason="ONNX Runtime 1.20 copies weights twice"
)


@current_runtime
@pytest.mark.parametrize("size", SIZES)
def test_running_without_a_save_takes_one_copy(size: float, tmp_path: Path) -> None:
    body = "picked(picking()([0, rows - 1]))"
    assert peak(body, size, tmp_path) < 2.1


@current_runtime
@pytest.mark.parametrize("size", SIZES)
def test_running_what_kernels_would_rearrange_takes_one_copy(size: float, tmp_path: Path) -> None:
    body = """
x = gd.input("x", gd.float32["k", rows])
model = gd.build({"y": x @ weight})
options = {} if size > 2**31 else {"session.disable_prepacking": 1}
first = np.zeros((1, rows), np.float32)
first[0, rows - 1] = 1
found = model.run({"x": first}, options=options)["y"]
assert found.tolist() == [[rows - 1] * 1000], found
"""
    assert peak(body, size, tmp_path) < 2.1


HUGE = """
from onnx import TensorProto, helper
from graphdsl.conversion import convert_opset

gigabytes = 4
with (folder / "m.data").open("wb") as stream:  # a hole: nothing is on the disk, and reading it all would fill memory
    stream.truncate(gigabytes << 30)
names, tensors = [f"w{i}" for i in range(gigabytes)], []
for i, name in enumerate(names):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1 << 14, 1 << 14], data_location=1)
    for key, value in (("location", "m.data"), ("offset", i << 30), ("length", 1 << 30)):
        tensor.external_data.add(key=key, value=str(value))
    tensors.append(tensor)
kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1 << 14]) for name in "xy"]
nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", n], [f"h{i + 1}"]) for i, n in enumerate(names)]
nodes.append(helper.make_node("Squeeze", [f"h{gigabytes}"], ["z"], axes=[0]))
nodes.append(helper.make_node("Unsqueeze", ["z"], ["y"], axes=[0]))
graph = helper.make_graph(nodes, "g", kinds[:1], kinds[1:], tensors)
proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
(folder / "m.onnx").write_bytes(proto.SerializeToString())

model = gd.load(folder / "m.onnx")
assert model["y"].shape == (1, 1 << 14)
assert sum(array.nbytes for array in gd.weights_of(model).values()) == gigabytes << 30
model = gd.rename(convert_opset(model, 21), {"w0": "first"})
model = gd.with_weights(model, {"w1": gd.weights_of(model)["w2"]})
assert gd.load(proto, base_dir=folder).nodes and "first" in str(model)
print((memory("VmHWM") - before) / (gigabytes << 30))
"""


def test_four_gigabytes_of_weights_beside_a_model_are_not_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.replace("weight[:]", "weight[:0]") + HUGE, "4000", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.05
