"""Campaigns: tasks, results, files of results, executors, the command, and the marker of pytest."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.verify import campaigns
from graphdsl.verify.comparing import Runs

pytest_plugins = ["pytester"]

HERE = verify.InProcess()

PLUGIN = [] if entry_points(group="pytest11", name="graphdsl") else ["-p", "graphdsl.pytest_plugin"]
"""What makes pytest load the plugin, where graphdsl is not installed and so does not do it by itself."""

FAST = {"examples": 5, "witnesses": ("unoptimised", "numpy")}


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness that is wrong about what is greater than 2."""

    def lies(model: Any, feeds: Any, limits: Any) -> Any:
        found = verify.WITNESSES["numpy"](model, feeds, limits)
        if not isinstance(found, dict):
            return found
        return {name: np.where(array > 2, array + 1, array).astype(array.dtype) for name, array in found.items()}

    monkeypatch.setitem(verify.WITNESSES, "liar", lies)


def test_operators_on_which_witnesses_agree() -> None:
    found = verify.campaign(["Add", "Neg"], dtypes=["float32", "int8"], executor=HERE, **FAST)
    assert [str(result.task) for result in found.results] == [
        "Add float32 opset 21",
        "Add int8 opset 21",
        "Neg float32 opset 21",
        "Neg int8 opset 21",
    ]
    assert {result.status for result in found.results} == {"agree"} and found.findings == []
    assert all(result.examples == 5 == result.ran["numpy"] for result in found.results)
    assert str(found).splitlines() == [
        "operator  agree  known  differ  crash  not run",
        "Add       2",
        "Neg       2",
        "2 in all  4      0      0       0      0",
    ]


def test_what_differs_is_found_small_with_a_program_that_shows_it(liar: None) -> None:
    found = verify.campaign(["Neg"], dtypes=["float32"], examples=100, witnesses=("unoptimised", "liar"), executor=HERE)
    (result,) = found.findings
    assert result.status == "differ"
    assert result.reason == "unoptimised and liar give numbers that differ by 0.25 of their size"
    assert "def model(x0: gd.float32[()]):" in result.repro
    assert "feeds = {'x0': np.array(-3.0, np.float32)}" in result.repro
    assert str(found).splitlines()[-1] == f"Neg float32 opset 21: {result.reason}"


def test_a_crash_is_a_finding_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(model: Any, feeds: Any, limits: Any) -> Any:
        return verify.Crash("SIGFPE") if any((array < 0).any() for array in feeds.values()) else verify.Refusal("no")

    monkeypatch.setitem(verify.WITNESSES, "mortal", dies)
    found = verify.campaign(["Abs"], dtypes=["int32"], examples=100, witnesses=("mortal",), executor=HERE)
    (result,) = found.findings
    assert (result.status, result.reason) == ("crash", "mortal crashed: SIGFPE")
    assert "np.array(-1, np.int32)" in result.repro


def test_what_nobody_runs_is_said_so() -> None:
    found = verify.campaign(["LSTM"], dtypes=["float32"], executor=HERE, **FAST)
    assert [(r.status, r.reason) for r in found.results] == [("not run", "no two witnesses run it")]


def test_a_campaign_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    path, seen = tmp_path / "results.jsonl", []
    options: dict[str, Any] = {"dtypes": ["float32"], "executor": HERE, "path": path, **FAST}

    def stop(result: verify.Result, total: int) -> None:
        seen.append((result.task.operator, total))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify.campaign(["Add", "Neg", "Abs"], progress=stop, **options)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"task": {"oper')  # as a line looks when the machine stops in it

    def note(result: verify.Result, total: int) -> None:
        seen.append((result.task.operator, total))

    whole = verify.campaign(["Add", "Neg", "Abs"], progress=note, **options)
    assert seen == [("Add", 3), ("Neg", 3), ("Abs", 3)]
    assert [result.task.operator for result in whole.results] == ["Add", "Neg", "Abs"]
    again = verify.campaign(["Add", "Neg", "Abs"], progress=note, **options)
    assert len(seen) == 3 and again.results == whole.results


def test_the_same_seed_gives_the_same_results() -> None:
    tries = [
        [(r.status, r.examples, r.ran) for r in verify.campaign(["Sub"], seed=seed, executor=HERE, **FAST).results]
        for seed in (1, 1)
    ]
    assert tries[0] == tries[1]
    seeds = [verify.campaign(["Sub"], seed=seed, executor=HERE, **FAST).results[0].task.seed for seed in (1, 2)]
    assert seeds[0] != seeds[1]


def test_results_are_written_as_json_and_as_junit_xml(tmp_path: Path, liar: None) -> None:
    found = verify.campaign(
        ["Neg", "LSTM"], dtypes=["float32"], examples=60, witnesses=("unoptimised", "liar"), executor=HERE
    )
    found.to_json(tmp_path / "results.json")
    found.to_junit(tmp_path / "results.xml")
    loaded = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [item["status"] for item in loaded] == ["differ", "not run"]
    suites = ElementTree.parse(tmp_path / "results.xml").getroot()
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("skipped")) for s in suites] == [
        ("Neg", "1", "1", "0"),
        ("LSTM", "1", "0", "1"),
    ]
    failure = suites.find("./testsuite/testcase/failure")
    assert failure is not None and failure.get("message") == found.results[0].reason
    assert failure.text == found.results[0].repro


def test_any_executor_runs_a_campaign() -> None:
    with ThreadPoolExecutor(2) as threads:
        found = verify.campaign(["Add", "Neg"], dtypes=["float32"], executor=threads, **FAST)
    assert [result.status for result in found.results] == ["agree", "agree"]


def test_a_pool_of_processes_is_the_default() -> None:
    found = verify.campaign(["Add", "Neg"], dtypes=["float32"], processes=1, **FAST)
    assert [result.status for result in found.results] == ["agree", "agree"]


def test_a_dask_cluster_runs_a_campaign() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = verify.campaign(["Add", "Neg"], dtypes=["float32"], executor=client.get_executor(), **FAST)
    assert [result.status for result in found.results] == ["agree", "agree"]


def test_random_models_are_tasks_too() -> None:
    found = verify.campaign([], random=2, examples=10, executor=HERE, witnesses=("onnxruntime", "unoptimised"))
    assert [result.task.operator for result in found.results] == ["random models"] * 2
    assert found.results[0].task.seed != found.results[1].task.seed


@pytest.mark.parametrize(
    "call, problem",
    [
        (lambda: verify.campaign(["Ad"]), "no campaign tries 'Ad'; did you mean 'And'?"),
        (lambda: verify.campaign(witnesses=["onnx"]), "there is no witness 'onnx'"),
        (lambda: verify.campaign(["Add"], opsets=[17, 99]), "opset 99 is not known; "),
        (
            lambda: verify.campaign(["Softmax"], dtypes=["string"]),
            "there is nothing to run: none of the operators has string at opset 21",
        ),
    ],
)
def test_what_is_not_known_is_refused(call: Any, problem: str) -> None:
    with pytest.raises((gd.SignatureError, gd.OpsetError)) as caught:
        call()
    assert str(caught.value).startswith(problem)


# Comparing


def difference(model: gd.Model, feeds: dict[str, Any], one: Any, other: Any) -> str | None:
    found = Runs(model, feeds).difference({"y": one}, {"y": other})
    return found.reason if found else None


def test_what_witnesses_differ_in() -> None:
    x = gd.input("x", gd.float32[3])
    model = gd.build({"y": x * 2})
    array = np.array([1, 2, 3], np.float32)
    feeds = {"x": array}
    twice = array * 2
    assert difference(model, feeds, twice, twice) is None
    assert difference(model, feeds, twice, np.nextafter(twice, 0)) is None
    assert difference(model, feeds, twice, twice * np.float32(1.0001)) == "numbers that differ by 0.0001 of their size"
    assert difference(model, feeds, twice, twice.astype(np.float64)) == "dtypes float32 and float64"
    assert difference(model, feeds, twice, twice[:2]) == "shapes (3,) and (2,)"
    assert difference(model, feeds, twice, np.array([2, np.nan, 6], np.float32)) == "NaN at other places"
    assert difference(model, feeds, twice, np.array([2, 4, np.inf], np.float32)) == "infinities at other places"
    assert difference(gd.build({"y": x > 2}), feeds, array > 2, array > 1) == "other values"
    assert difference(model, feeds, [twice], [twice, twice]) == "sequences of other lengths"
    assert Runs(model, feeds).difference({"y": twice}, verify.Refusal("no")) is None


def test_what_roundings_explain_is_no_difference() -> None:
    """A sum that cancels: what is left is of the size of the roundings on the way."""
    x = gd.input("x", gd.float32[3])
    model = gd.build({"y": x.sum()})
    feeds = {"x": np.array([1e8, 1, -1e8], np.float32)}
    assert difference(model, feeds, np.zeros((), np.float32), np.ones((), np.float32)) is None
    assert difference(model, feeds, np.zeros((), np.float32), np.full((), 1000, np.float32)) is not None


def test_a_formula_loses_only_what_its_steps_lose() -> None:
    """exp(x) - 1 loses digits near 0, as it is written; 1 / (1 + exp(-x)) loses none anywhere."""
    x = gd.input("x", gd.float32[1])
    feeds = {"x": np.array([-0.001], np.float32)}
    exact = np.expm1(feeds["x"].astype(np.float64)).astype(np.float32)
    assert difference(gd.build({"y": op.Elu(x)}), feeds, exact, exact + np.float32(1e-8)) is None
    feeds = {"x": np.array([-8], np.float32)}
    exact = np.float32([0.00033535014])
    found = difference(gd.build({"y": op.Sigmoid(x)}), feeds, exact, exact + np.float32(7.5e-8))
    assert found == "numbers that differ by 0.00022 of their size"


def test_what_a_function_does_counts_too() -> None:
    @gd.function(domain="mine")
    def elu(a):  # type: ignore[no-untyped-def]
        return op.Elu(a)

    x, feeds = gd.input("x", gd.float32[1]), {"x": np.array([-0.001], np.float32)}
    exact = np.expm1(feeds["x"].astype(np.float64)).astype(np.float32)
    assert difference(gd.build({"y": elu(x)}), feeds, exact, exact + np.float32(1e-8)) is None


def test_squares_of_a_body_may_overflow() -> None:
    x = gd.input("x", gd.float32[2, 1])
    model = gd.build({"y": op.MeanVarianceNormalization(x, axes=[0])})
    zeros = np.zeros((2, 1), np.float32)
    for value, reason in ((1e30, None), (1.0, "NaN at other places")):
        feeds = {"x": np.array([[0], [value]], np.float32)}
        assert difference(model, feeds, zeros, zeros * np.float32(np.nan)) == reason


def test_what_is_computed_in_float32_by_an_attribute_is_as_exact_as_that() -> None:
    x = gd.input("x", gd.float64[2])
    feeds, exact = {"x": np.array([1.0, 2.0])}, np.array([-1.0, 1.0])
    normal = gd.build({"y": op.LayerNormalization(x, np.ones(2))})
    assert difference(normal, feeds, exact, exact * (1 + 1e-7)) is None
    assert difference(normal, feeds, exact, exact * (1 + 1e-5)) is not None
    assert difference(gd.build({"y": x * 2 - 3}), feeds, exact, exact * (1 + 1e-7)) is not None


def test_what_becomes_of_infinite_weights_is_not_compared() -> None:
    x, scale = gd.input("x", gd.float32[1, 1]), gd.input("scale", gd.float32[1])
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    model = gd.build({"y": op.BatchNormalization(x, scale, zero, zero, one)})
    for value, reason in ((np.inf, None), (1.0, "NaN at other places")):
        feeds = {"x": one[None], "scale": np.array([value], np.float32)}
        assert difference(model, feeds, one[None] * np.float32(np.nan), one[None]) == reason


@pytest.mark.parametrize(
    "call",
    [op.LogSoftmax, lambda x: op.Conv(x, np.ones((1, 1, 1), np.float32), pads=[1, 0])],
    ids=["LogSoftmax", "Conv"],
)
def test_what_becomes_of_infinities_that_kernels_leave_out_or_take_away_is_not_compared(call: Any) -> None:
    x, ones = gd.input("x", gd.float32[1, 1, 2]), np.ones((1, 1, 2), np.float32)
    model = gd.build({"y": call(x)})
    for value, reason in ((np.inf, None), (1.0, "NaN at other places")):
        assert difference(model, {"x": ones * np.float32(value)}, ones * np.float32(np.nan), ones) == reason


# The command


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(gd.__file__).parent.parent)
    program = [sys.executable, "-m", "graphdsl.verify", *arguments]
    return subprocess.run(program, capture_output=True, text=True, cwd=cwd, env={"PYTHONPATH": root, "PATH": ""})


def test_the_command_runs_a_campaign_and_writes_files(tmp_path: Path) -> None:
    done = command(
        *("Neg", "--dtype", "float32", "--examples", "5", "--witness", "unoptimised", "--witness", "numpy"),
        *("--processes", "1", "--junit", "found.xml", "--json", "found.json", "--resume", "found.jsonl"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Neg" in done.stdout and "agree" in done.stdout
    assert json.loads((tmp_path / "found.json").read_text())[0]["status"] == "agree"
    assert (tmp_path / "found.xml").exists() and len((tmp_path / "found.jsonl").read_text().splitlines()) == 1


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    done = command("Sofmax", "--processes", "1", cwd=tmp_path)
    assert done.returncode == 2 and "no campaign tries 'Sofmax'; did you mean 'Softmax'?" in done.stdout


# Models and rules in the CI of others


def test_a_model_is_verified_by_all_witnesses(tmp_path: Path, liar: None) -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"y": -x}, name="negative")
    model.save(tmp_path / "model.onnx")
    result = verify.unanimous(tmp_path / "model.onnx", examples=10)
    assert (result.status, result.examples) == ("agree", 10)
    assert result.ran == dict.fromkeys(["onnxruntime", "unoptimised", "reference", "numpy", "torch"], 10)
    wrong = verify.unanimous(model, witnesses=("unoptimised", "liar"), examples=100)
    assert wrong.status == "differ" and "np.array([-3.0], np.float32)" in wrong.repro


PROJECT = """
import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op, verify

@gd.rule(lambda x: op.Neg(op.Neg(x)))
def twice_negative(x):
    return x

@gd.rule(lambda x, y: x - y)
def swapped(x, y):
    return y - x

x = gd.input("x", gd.float32["n"])
before, after, wrong = (gd.build({"y": y}) for y in (x + x, x * 2, x * 3))

@pytest.mark.verified(twice_negative, "*.onnx", (before, after))
def test_what_we_ship(verified):
    assert verified

@pytest.mark.verified(swapped, (before, wrong))
def test_what_is_wrong(verified):
    pass
"""


def test_three_lines_verify_rules_and_models_of_a_project(pytester: pytest.Pytester) -> None:
    gd.build({"y": abs(gd.input("x", gd.float32["n"]))}).save(pytester.path / "model.onnx")
    pytester.makepyfile(PROJECT)
    done = pytester.runpytest(*PLUGIN, "--strict-markers", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=3, errors=2)
    done.stdout.fnmatch_lines(["*Refuted*swapped*"])


def test_a_pattern_that_fits_no_file_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.verified('no*.onnx')\ndef test_nothing(verified): pass")
    done = pytester.runpytest(*PLUGIN)
    done.stdout.fnmatch_lines(["*no file fits 'no*.onnx', which is to be verified*"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "@pytest.mark.verified()\ndef test_it(verified): pass",
            "*the marker 'verified' says nothing that is*",
        ),
        ("@pytest.mark.verified(*[])\ndef test_it(verified): pass", "*write @pytest.mark.verified(rule), or a model*"),
        ("def test_it(verified): pass", "*asks for 'verified' and has no marker*"),
        ("@pytest.mark.verified('x.onnx')\ndef test_it(): pass", "*verifies nothing; let it take 'verified'*"),
    ],
)
def test_a_marker_that_verifies_nothing_is_an_error(pytester: pytest.Pytester, source: str, said: str) -> None:
    pytester.makepyfile(f"import pytest\n{source}")
    done = pytester.runpytest(*PLUGIN)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([said])


def test_a_marker_of_a_file_is_for_the_tests_that_ask(pytester: pytest.Pytester) -> None:
    gd.build({"y": abs(gd.input("x", gd.float32["n"]))}).save(pytester.path / "model.onnx")
    pytester.makepyfile(
        "import pytest\npytestmark = pytest.mark.verified('model.onnx')\n"
        "def test_it(verified): pass\ndef test_other(): pass"
    )
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=2)


def test_a_result_prints_what_ran() -> None:
    x = gd.input("x", gd.float32[2])
    result = verify.unanimous(gd.build({"y": op.Neg(x)}), examples=3, witnesses=("onnxruntime", "numpy"))
    assert str(result) == "graph opset 21: agree\n  ran    onnxruntime 3, numpy 3"


def test_known_faults_are_told_in_the_documentation() -> None:
    page = (Path(__file__).parent.parent / "docs" / "upstream.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert [fault.heading for fault in campaigns.FAULTS if fault.heading not in headings] == []
