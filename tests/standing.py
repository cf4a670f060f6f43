"""Changes that the rule refuter lets stand, each with the reason: of stock rules, and of calls of single operators.

Changes of stock rules are named by how their labels begin. All others that fire at every opset are refuted:
test_mutation.py. All other changes of calls are too, but for those that never fire: test_verify_operators.py.
"""

RIGHT: dict[str, str] = {
    **dict.fromkeys(
        (
            "_added 6: without 'b.value is None' in b is not None and b.value is No",
            "_for_each_channel 17: another operator in rank - c.value.ndim",
            "_for_each_channel 18: 2 for 1",
            "_normed_by 5: 8 for 7",
            "_scaled 11: without 'b.value is None' in b is not None and b.value is",
            "drop_dropout 5: without 'training.value is None or training.value' in",
            "drop_dropout 10: 8 for 7",
            "erf_gelu 5: 21 for 20",
            "expand_to_own_shape 8: without 'ones' in ones or _whole(x, op.Expand(x",
            "expand_to_own_shape 9: without '_whole(x, op.Expand(x, s))' in ones or",
            "_same_shape 6: without 'shape' in shape or ()",
            "_same_shape 8: another operator in len(shape) - len(known)",
            "layer_norm 29: 18 for 17",
            "layer_norm 31: 1 for 0",
            "matmul_add_to_gemm 27: 8 for 7",
            "matmul_add_to_gemm 31: without 'size == 1' in size == 1 or size == wan",
            "matmul_add_to_gemm 32: without 'size == wanted' in size == 1 or size =",
            "is_lossless 5: without \"after.kind in ('int', 'uint')\" in after.kind i",
            "is_lossless 6: without 'after.name in _MANTISSA' in after.kind in ('in",
            "is_lossless 7: another operator in before.bits - (before.kind == 'int'",
            "is_lossless 29: the opposite of bits < 2 ** (_EXPONENT[after.name] - 1",
            "is_lossless 31: 2 for 1",
            "is_lossless 34: 2 for 1",
            "merge_pads 12: 1 for 0",
            "merge_pads 13: 1 for 0",
            "_reshaped 4: without 'shape_of(x)' in shape_of(x) or ()",
            "_reshaped 30: the opposite of axis < len(known)",
            "pad_into_conv 18: without 'axes.value is not None' in axes is None or",
            "pad_into_conv 36: 3 for 2",
            "pad_into_conv 37: 3 for 2",
            "slice_of_all 2: without 'step.value is None or not (step.value ==' in",
            "tanh_gelu 6: 21 for 20",
        ),
        "It declines more than it has to.",
    ),
    **dict.fromkeys(
        (
            "is_lossless 18: the opposite of after.kind in ('int', 'uint')",
            "is_lossless 19: the opposite of after.name in _MANTISSA",
        ),
        "It declines more than it has to; what it takes besides is text, which no cast makes a number of bool again.",
    ),
    **dict.fromkeys(
        (
            "_added 2: without 'b is not None and b.value is None' in more is None",
            "_added 9: the opposite of b.value is None",
            "_normed_by 0: without if any((tensor.value is None for tensor in (s, t",
            "_normed_by 1: without 'any((tensor.value is None for tensor in ' in an",
            "_scaled 0: without if w.value is None or (b is not None and b.value is",
            "_scaled 3: without 'w.value is None' in w.value is None or (b is not N",
            "_scaled 4: without 'b is not None and b.value is None' in w.value is N",
            "_scaled 16: the opposite of b.value is None",
        ),
        "NumPy makes NaN of what is no constant, and that is declined as not finite.",
    ),
    **dict.fromkeys(
        (
            "_added 10: without 'c.name' in c.name or None",
            "_added 11: without 'None' in c.name or None",
            "_scaled 7: without 'w.name' in w.name or None",
            "_scaled 8: without 'None' in w.name or None",
            "_scaled 22: without 'name' in name and f'{name}_fused'",
            "_scaled 23: without \"f'{name}_fused'\" in name and f'{name}_fused'",
            "_scaled 24: without 'name' in name and f'{name}_fused_bias'",
            "_scaled 25: without \"f'{name}_fused_bias'\" in name and f'{name}_fused_",
        ),
        "Only the name of a constant is another one.",
    ),
    **dict.fromkeys(
        (
            "_for_each_channel 3: without 'rank is None' in c.value is None or rank",
            "_for_each_channel 6: without \"w.dtype.kind != 'float'\" in c.value is N",
            "_scaled 1: without if w.dtype not in (float16, float32, float64, bfloa",
            "is_lossless 22: without 'bits < 2 ** (_EXPONENT[after.name] - 1)' in b",
            "is_lossless 32: 3 for 2",
            "is_lossless 33: another operator in _EXPONENT[after.name] - 1",
            "pad_into_conv 23: without 'axes.value is None' in axes is None or axes",
            "_reshaped 12: without the other attributes in op.Reshape(x, shape, **a",
        ),
        "What is left out follows from what stands beside it.",
    ),
    **dict.fromkeys(
        (
            "_for_each_channel 22: 2 for 1",
            "_scaled 31: 2 for 1",
            "_scaled 38: 2 for 1",
            "pad_into_conv 35: another operator in place + len(chosen)",
        ),
        "NumPy takes -2 for -1 as the size that is left open, and counts what is negative from the end.",
    ),
    **dict.fromkeys(
        ("_reshaped 23: without 'axis < len(known)' in known is not None and axi",),
        "A size of 0 that stands beyond the rank makes no valid model.",
    ),
    **dict.fromkeys(
        (
            "_same_shape 9: the opposite of 0 not in known",
            "_same_shape 10: 1 for 0",
        ),
        "What it takes besides leaves a size open beside one of zero, which the standard does not define.",
    ),
    **dict.fromkeys(
        (
            "erf_gelu 2: without 'dtype_of(x) in _COMPUTED' in opset_in_force() >=",
            "erf_gelu 4: the opposite of dtype_of(x) in _COMPUTED",
            "matmul_add_to_gemm 3: without \"dtype.kind != 'float'\" in dtype is None",
            "matmul_add_to_gemm 14: the opposite of dtype.kind != 'float'",
        ),
        "It is right for other dtypes too, for which ONNX Runtime has no kernel.",
    ),
    **dict.fromkeys(
        (
            "layer_norm 12: without 'not least > 0' in not found or found != list(r",
            "layer_norm 28: the opposite of least > 0",
        ),
        "An epsilon of zero or less means the same to both operators; ONNX Runtime refuses it.",
    ),
    **dict.fromkeys(
        (
            "layer_norm 15: without 'not all((isinstance(size, int) for size ' in s",
            "layer_norm_shifted 1: without 'shape_of(shift) is None' in shape_of(sh",
            "layer_norm_shifted 6: the opposite of shape_of(shift) is None",
        ),
        "The standard broadcasts scale and shift as the nodes before do; only ONNX Runtime wants their sizes equal.",
    ),
}
"""Changes that leave a rule right, as far as the standard says what is right."""

MISSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "_normed_by 2: without 'opset_in_force() < 7' in any((tensor.value is N",
            "drop_dropout 0: without if opset_in_force() < 7 and (not attrs.get('is",
            "drop_dropout 3: without \"not attrs.get('is_test')\" in opset_in_force()",
            "matmul_add_to_gemm 10: without 'opset_in_force() < 7' in len(left) !=",
        ),
        "Opsets before 7 are not tried: ONNX Runtime does not run them.",
    ),
    **dict.fromkeys(
        (
            "cast_like_known 0: without if dtype is None:",
            "cast_to_own_dtype 1: without 'dtype is not None' in dtype is not None",
            "matmul_add_to_gemm 2: without 'dtype is None' in dtype is None or dtyp",
            "merge_casts 1: without 'first is None' in first is None or second is N",
            "merge_casts 2: without 'second is None' in first is None or second is",
        ),
        "No instance has tensors of unknown dtype; only bodies of local functions have.",
    ),
    **dict.fromkeys(
        ("cast_like_known 4: without the other attributes in op.Cast(x, to=dtype",),
        "Floats of 8 bits are not tried.",
    ),
    **dict.fromkeys(
        (
            "_added 3: always constant(made, c.name or None)",
            "_scaled 2: without if not all((np.isfinite(array).all() for array in m",
        ),
        "Only constants whose sum or product overflows show it; none such are drawn.",
    ),
    **dict.fromkeys(
        (
            "merge_pads 4: without '(two < 0).any()' in one is None or two is None",
            "merge_pads 11: the opposite of two < 0",
        ),
        "Only where more is cut off than there is can it be wrong.",
    ),
    **dict.fromkeys(
        ("matmul_add_to_gemm 22: without 'size is None' in size is None or not (",),
        "Inputs of unknown sizes that differ where it matters are drawn too rarely.",
    ),
}
"""Changes that make a rule wrong where the refuter does not look, or cannot see it."""

OF_CALLS: dict[str, str] = {
    **dict.fromkeys(
        (
            *(f"{name} A and B swapped" for name in ("Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor")),
            *(f"{name} A and B swapped" for name in ("Equal", "Mul", "Or", "Xor")),
            *("Clip input and min swapped", "Clip input and max swapped"),
        ),
        "It makes no difference which comes first.",
    ),
    **dict.fromkeys(
        (
            *(f"{name} without kernel_shape" for name in ("Conv", "ConvInteger", "ConvTranspose", "DeformConv")),
            "QLinearConv without kernel_shape",
            *(f"{name} without hidden_size" for name in ("GRU", "LSTM", "RNN")),
            *("MaxUnpool without output_shape", "ReverseSequence without time_axis"),
        ),
        "It can only be what follows from the rest.",
    ),
    **dict.fromkeys(
        (
            *("AveragePool without ceil_mode", "LpPool without ceil_mode", "MaxPool without ceil_mode"),
            *("ConvTranspose without output_padding", "Dropout without ratio", "Dropout without seed"),
            *(f"NonMaxSuppression without {name}" for name in ("center_point_box", "iou_threshold", "score_threshold")),
            "NonMaxSuppression iou_threshold and score_threshold swapped",
            *(f"Resize without {name}" for name in ("antialias", "cubic_coeff_a", "exclude_outside")),
            *(f"Resize without {name}" for name in ("extrapolation_value", "keep_aspect_ratio_policy")),
            *("StringNormalizer without is_case_sensitive", "TensorScatter without mode"),
            *(
                "Constant without sparse_value",
                "Constant without value_strings",
                "TfIdfVectorizer without pool_strings",
            ),
        ),
        "It means something only beside another attribute or input, which these calls lack.",
    ),
    **dict.fromkeys(
        (
            *("Attention without qk_matmul_output_mode", "MaxPool without storage_order"),
            *("BatchNormalization without momentum", "BatchNormalization without training_mode"),
        ),
        "It changes other outputs than the first.",
    ),
    **dict.fromkeys(
        (
            *("Cast without round_mode", "Cast without saturate", "CastLike without round_mode"),
            *("CastLike without saturate", "QuantizeLinear without saturate"),
        ),
        "It is about floats of 8 bits, which are not tried where others are allowed.",
    ),
    **dict.fromkeys(
        (f"{name} without stash_type" for name in ("GroupNormalization", "LayerNormalization", "RMSNormalization")),
        "No evaluator computes in another dtype than float32.",
    ),
    "QLinearMatMul a_scale and b_scale swapped": "Only their product counts, but to ONNX Runtime.",
    "LinearAttention without chunk_size": "It says how to compute, not what.",
    "TopK without sorted": "Without it the order is left open.",
}
"""Changes of calls that make no difference, or none that can be seen."""

NEVER_FIRE: dict[str, str] = {
    **dict.fromkeys(
        (
            *(f"Attention without {name}" for name in ("kv_num_heads", "q_num_heads", "softmax_precision")),
            *(f"{name} without activation_alpha" for name in ("GRU", "LSTM", "RNN")),
            *(f"{name} without activation_beta" for name in ("GRU", "LSTM", "RNN")),
            *("Optional without type", "StringNormalizer without locale"),
        ),
        "What its absence means depends on the rest of the call, so the pattern does not fit.",
    ),
    **dict.fromkeys(
        (
            *("Attention without past_key", "Attention without past_value"),
            *("Attention Q and past_key swapped", "Attention K and past_key swapped"),
            "Attention V and past_value swapped",
            *("LinearAttention without beta", "LinearAttention without decay"),
            *(f"LinearAttention {name} and beta swapped" for name in ("query", "key", "value", "decay")),
            *(f"LinearAttention {name} and decay swapped" for name in ("query", "key", "value")),
            *("Resize without roi", "Split without split"),
        ),
        "The operator takes it only together with another input, or instead of what these calls have.",
    ),
}
"""Changes of calls whose verdict is that they never fire."""
