"""ONNX Runtime's own failures, told about the user's node and line.

The messages below are the runtime's, of versions 1.20 and 1.31; the tests on live sessions see that it still says them.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.failures import plain, read

MATRIX, OTHER = gd.float32["a", "b"], gd.float32["c", "d"]
WIDE, TALL = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)


def failure(model: gd.Model, *given: Any) -> str:
    """The message of a failing call, with line numbers as N."""
    with pytest.raises(gd.RunError) as caught:
        model(*given)
    assert isinstance(caught.value, RuntimeError)
    return re.sub(r"(tests[/\\]test_failures\.py):\d+", "HERE:N", str(caught.value))


def test_the_judge_of_this_file_rejects_a_call_that_runs() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        failure(gd.build({"y": gd.input("x", MATRIX) + 1}), WIDE)


# Failures while running


def test_a_model_that_was_saved_with_locations_fails_with_them(tmp_path: Path) -> None:
    model = gd.build({"y": gd.input("x", MATRIX) @ np.ones((4, 5), np.float32)})
    for locations in (True, False):
        model.save(tmp_path / "model.onnx", locations=locations)
        found = failure(gd.load(tmp_path / "model.onnx"), WIDE)
        assert found.splitlines()[0].endswith(
            "ONNX Runtime failed in MatMul, which makes 'y': MatMul dimension mismatch"
        )
        written = "in test_a_model_that_was_saved_with_locations_fails_with_them: model = gd.build"
        ran = "in failure: model(*given)"
        assert (written in found, ran in found) == (locations, not locations)


def test_words_of_the_runtimes_own_source_are_left_out() -> None:
    model = gd.build({"y": gd.input("a", gd.int64[2]) // gd.input("b", gd.int64[2])}, name="quotient")
    assert failure(model, [1, 2], [0, 1]).startswith(
        "model 'quotient': ONNX Runtime failed in Mod, which makes 'Mod_0': Integer modulo by zero\n"
    )


def test_a_failing_node_is_told_with_its_inputs_and_its_line() -> None:
    @gd.model
    def added(x: MATRIX, z: OTHER):
        return {"sum": op.Relu(x) + z}

    assert failure(added, WIDE, TALL) == (
        "model 'added': ONNX Runtime failed in Add, which makes 'sum': "
        "Attempting to broadcast an axis by a dimension other than 1. 3 by 4\n"
        "  inputs: A float32['a', 'b'], B float32['c', 'd']\n"
        "  the model was given: x float32[2, 3], z float32[2, 4]\n"
        '  at HERE:N, in added: return {"sum": op.Relu(x) + z}'
    )


def test_a_fused_node_is_told_as_the_node_that_was_written() -> None:
    @gd.model
    def gemm(x: MATRIX):
        product = x @ np.ones((4, 5), np.float32)
        return product + np.ones(5, np.float32)

    assert failure(gemm, WIDE) == (
        "model 'gemm': ONNX Runtime failed in MatMul, which makes 'MatMul_0': MatMul dimension mismatch\n"
        "  inputs: A float32['a', 'b'], B float32[4, 5]\n"
        "  the model was given: x float32[2, 3]\n"
        "  at HERE:N, in gemm: product = x @ np.ones((4, 5), np.float32)"
    )

    @gd.model
    def convolved(x: gd.float32[None, None, None, None]):
        features = op.Conv(x, np.ones((4, 2, 3, 3), np.float32))
        return op.Relu(features)

    message = failure(convolved, np.ones((1, 3, 5, 5), np.float32)).splitlines()
    assert message[0].startswith("model 'convolved': ONNX Runtime failed in Conv, which makes 'Conv_0': Input channels")
    assert message[-1].endswith("in convolved: features = op.Conv(x, np.ones((4, 2, 3, 3), np.float32))")


def test_a_node_in_a_branch_is_told_with_the_if_around_it() -> None:
    @gd.model
    def branching(flag: gd.bool[()], x: MATRIX, z: OTHER):
        return op.If(
            flag,
            then_branch=lambda: x + z,
            else_branch=lambda: op.Relu(x),
        )

    message = failure(branching, True, WIDE, TALL).splitlines()
    assert message[0].startswith("model 'branching': ONNX Runtime failed in Add, which makes ")
    assert message[2:] == [
        "  the model was given: flag bool, x float32[2, 3], z float32[2, 4]",
        "  at HERE:N, in <lambda>: then_branch=lambda: x + z,",
        "  in If at HERE:N, in branching: return op.If(",
    ]


def test_a_node_in_a_loop_is_told_with_the_loop_around_it() -> None:
    @gd.model
    def looping(count: gd.int64[()], x: MATRIX, z: OTHER):
        def body(index, going, state):
            return going, state + x

        return op.Loop(count, None, z, body=body)

    message = failure(looping, 3, WIDE, TALL).splitlines()
    assert message[0].startswith("model 'looping': ONNX Runtime failed in Add, which makes ")
    assert message[-2:] == [
        "  at HERE:N, in body: return going, state + x",
        "  in Loop at HERE:N, in looping: return op.Loop(count, None, z, body=body)",
    ]


def test_a_node_in_a_function_is_told_by_its_own_line() -> None:
    @gd.function(domain="my")
    def my_add(a, b):
        return op.Relu(a + b)

    @gd.model
    def calling(x: MATRIX, z: OTHER):
        return my_add(x, z)

    message = failure(calling, WIDE, TALL).splitlines()
    assert message[0].startswith("model 'calling': ONNX Runtime failed in Add: Attempting to broadcast")
    assert message[-1] == "  at HERE:N, in my_add: return op.Relu(a + b)"


def test_a_failure_of_some_outputs_is_told_alike() -> None:
    x, z = gd.input("x", MATRIX), gd.input("z", OTHER)
    model = gd.build({"negated": -x, "sum": x + z})
    assert model.run({"x": WIDE}, outputs=["negated"])["negated"].tolist() == (-WIDE).tolist()
    with pytest.raises(gd.RunError, match="failed in Add, which makes 'sum'"):
        model.run({"x": WIDE, "z": TALL}, outputs=["sum"])


def test_lists_and_absent_values_are_told_as_they_were_given() -> None:
    @gd.model
    def picking(items: gd.sequence(gd.float32[None]), maybe: gd.optional(gd.float32["n"]), index: gd.int64[()]):
        return op.SequenceAt(items, index), op.OptionalHasElement(maybe)

    assert "  the model was given: items list of 1, maybe nothing, index int64\n" in failure(picking, [[1]], None, 5)


# Failures while loading


def test_a_missing_kernel_is_told_with_the_dtype() -> None:
    @gd.model
    def whole(x: gd.int16["n"]):
        return op.Relu(x)

    assert re.sub(r"Runtime [\d.]+", "Runtime V", failure(whole, [1])) == (
        "model 'whole': ONNX Runtime V has no kernel of Relu (since opset 14) for these types; cast to a dtype that it "
        "has one for, as in x.astype(gd.float32), or run with other providers\n"
        "  inputs: X int16['n']\n"
        "  at HERE:N, in whole: return op.Relu(x)"
    )


def test_a_kernel_that_refuses_to_be_made_is_found_by_its_absence() -> None:
    @gd.model
    def normalised(x: gd.float32[1, 3, 4, 4]):
        before = op.Relu(x)
        after = op.LRN(before, size=2)
        for _ in range(20):
            after = op.Sigmoid(after) + before
        return after

    assert failure(normalised, np.ones((1, 3, 4, 4), np.float32)) == (
        "model 'normalised': ONNX Runtime refuses LRN, which makes 'LRN_0': size_ % 2 == 1 was false.\n"
        "  inputs: X float32[1, 3, 4, 4]\n"
        "  at HERE:N, in normalised: after = op.LRN(before, size=2)"
    )


def test_an_operator_without_implementation_is_told_with_what_to_do() -> None:
    @gd.custom_op("my::Debug")
    def debug(x, *, name: str = ""):
        return x

    @gd.model
    def debugged(x: MATRIX):
        return debug(op.Relu(x), name="here")

    assert re.sub(r"Runtime [\d.]+", "Runtime V", failure(debugged, WIDE)) == (
        "model 'debugged': ONNX Runtime V has no operator 'Debug' in the domain 'my'; define it with "
        "@gd.function(domain='my'), which every runtime runs, or give the library that implements it: "
        'model.run(..., options={"register_custom_ops_library": path})\n'
        "  inputs: x float32['a', 'b']\n"
        '  at HERE:N, in debugged: return debug(op.Relu(x), name="here")'
    )


def test_an_opset_that_is_too_new_is_told_with_the_newest_that_runs() -> None:
    x = gd.input("x", MATRIX)
    with gd.opset(28):
        model = gd.build({"y": op.Relu(x)}, name="new")
    assert re.fullmatch(
        r"model 'new': opset 28 needs IR version 14, and ONNX Runtime [\d.]+ reads versions up to \d+; "
        r"build it with opset=(\d+), or write gd\.convert_opset\(model, \1\)\n  at HERE:N, .*",
        failure(model, WIDE),
    )
    assert re.fullmatch(
        r"model 'new': it is of opset 28, and ONNX Runtime [\d.]+ runs opsets up to (\d+); "
        r"build it with opset=\1, or write gd\.convert_opset\(model, \1\)\n  at HERE:N, .*",
        failure(dataclasses.replace(model, ir_version=10), WIDE),
    )


def test_an_ir_version_that_is_too_new_is_told_with_the_one_to_write() -> None:
    model = gd.build({"y": op.Relu(gd.input("x", MATRIX))}, name="new", opset=21)
    message = failure(dataclasses.replace(model, ir_version=99), WIDE)
    found = re.fullmatch(
        r"model 'new': it is of IR version 99, and ONNX Runtime [\d.]+ reads versions up to (\d+); "
        r"write dataclasses\.replace\(model, ir_version=\1\)\n  at HERE:N, .*",
        message,
    )
    assert found
    assert dataclasses.replace(model, ir_version=int(found[1]))(WIDE).tolist() == WIDE.tolist()


def test_another_domain_that_is_too_new_is_named() -> None:
    encoder = gd.domain("ai.onnx.ml", 2).LabelEncoder
    model = gd.build({"y": encoder(gd.input("x", gd.int64["n"]), keys_int64s=[1], values_int64s=[2])}, name="new")
    model = dataclasses.replace(model, opset_imports={**model.opset_imports, "ai.onnx.ml": 99})
    assert re.fullmatch(
        r"model 'new': it imports 'ai\.onnx\.ml' 99, and ONNX Runtime [\d.]+ runs versions of it up to \d+\n  at .*",
        failure(model, [1]),
    )


# What the runtime says, word for word

SOURCE = "/onnxruntime_src/onnxruntime/core"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Node (gd#17) Op (MatMul) [ShapeInferenceError] Incompatible "
                "dimensions for matrix multiplication"
            ),
            "Incompatible dimensions for matrix multiplication",
        ),
        (
            (
                '[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. In Node, ("gd#17", Cast, "", -1) '
                ': ("x": tensor(float),) -> ("y": tensor(float),) , Error Required attribute \'to\' is missing.'
            ),
            "Required attribute 'to' is missing.",
        ),
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Type Error: Type parameter (T) of Optype (Add) bound to different "
                "types (tensor(float) and tensor(int64) in node (gd#17)."
            ),
            "Type Error: Type parameter (T) of Optype (Add) bound to different types (tensor(float) and tensor(int64).",
        ),
        (
            (
                f"[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: {SOURCE}/providers/cpu/tensor/"
                "upsamplebase.h:370 onnxruntime::UpsampleMode onnxruntime::UpsampleBase::StringToUpsampleMode(const "
                "std::string&) mode attribute is cubc. It can only be nearest(default) or linear or cubic.\n"
            ),
            "mode attribute is cubc. It can only be nearest(default) or linear or cubic.",
        ),
        (
            (
                f"[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: {SOURCE}/providers/cpu/math/"
                "element_wise_ops.h:256 onnxruntime::Div<T>::Div(const onnxruntime::OpKernelInfo&) [with T = long int] "
                "b_data[i] != T{0} was false. Integer division by zero\n"
            ),
            "Integer division by zero",
        ),
        (
            (
                f"{SOURCE}/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
                "onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 40000000000000\n"
            ),
            "Failed to allocate memory for requested buffer of size 40000000000000",
        ),
        (
            r"D:\a\_work\1\s\include\onnxruntime\core/framework/op_kernel.h:45 onnx::Get() index < 3 was false. ",
            "index < 3 was false.",
        ),
        ("element_wise_ops.cc:692 Compute Integer division by zero", "Integer division by zero"),
        ("GEMM: Dimension mismatch, W: {4,5} K: 3 N:5", "GEMM: Dimension mismatch, W: {4,5} K: 3 N:5"),
        (f"{SOURCE}/a.cc:1 f", "f"),
        ("[ONNXRuntimeError] : 1 : FAIL : ", "[ONNXRuntimeError] : 1 : FAIL : "),
    ],
)
def test_messages_are_told_without_the_runtime_s_own_code(message: str, text: str) -> None:
    assert plain(message) == text


RUNNING = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running"


@pytest.mark.parametrize(
    ("message", "numbers", "exact"),
    [
        (f"{RUNNING} Relu node. Name:'gd#1' Status Message: broken", [1], True),
        (f"{RUNNING} Relu node. Name:'_inlfunc_f_gd#1' Status Message: broken", [1], True),
        (f"{RUNNING} Gemm node. Name:'gd#1/MatMulAddFusion' Status Message: broken", [1], False),
        (f"{RUNNING} Relu node. Name:'gd#1/Fused/' Status Message: broken", [1], False),
        (f"{RUNNING} Conv node. Name:'y_nchwc' Status Message: broken", [], False),
        (f"{RUNNING} Relu node. Name:'gd#7' Status Message: broken", [], False),
        (
            (
                f"{RUNNING} If node. Name:'gd#0' Status Message: Non-zero status code returned while running Relu "
                "node. Name:'gd#1' Status Message: broken"
            ),
            [0, 1],
            True,
        ),
        ("Could not find an implementation for Relu(14) node with name 'gd#1'", [1], True),
        ("Model is broken", [], False),
    ],
)
def test_messages_lead_to_nodes(message: str, numbers: list[int], exact: bool) -> None:
    nodes = gd.build({"y": op.Relu(op.Sigmoid(gd.input("x", MATRIX)))}).nodes
    found = read(message, nodes)
    assert [nodes.index(node) for node in found.nodes] == numbers
    assert found.exact is exact


def test_a_message_about_a_node_that_the_runtime_made_keeps_its_name() -> None:
    assert read(f"{RUNNING} Conv node. Name:'y_nchwc' Status Message: broken", ()).text == "Conv 'y_nchwc': broken"
