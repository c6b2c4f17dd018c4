/**
 * Linear layers over 8-bit weights. Both multiply (M, K) float rows by a (N, K) weight, as PyTorch's Linear does.
 * `linearBlock8` keeps one scale for each block of a row (the accurate form); `linearRow8` keeps one for each row and
 * also rounds the activations to 8 bits as it goes (the fast form).
 */
import { ToklipError } from "../../core/index.ts";
import { formatShape } from "../dim.ts";
import { type NoAttrs, op, type Value } from "../op.ts";
import { requireRank, requireShape, staticDim } from "./checks.ts";

/** x (M, K) times the transpose of w (N, K), plus bias (N). */
function linear(x: Value, weight: (n: number, k: number) => number, bias: Value | undefined, n: number): Value {
  const [m, k] = x.shape as [number, number];
  const data = new Float64Array(m * n);
  for (let j = 0; j < n; j++) {
    const row = Float64Array.from({ length: k }, (_, p) => weight(j, p));
    for (let i = 0; i < m; i++) {
      let sum = bias ? bias.data[j]! : 0;
      for (let p = 0; p < k; p++) sum += x.data[i * k + p]! * row[p]!;
      data[i * n + j] = sum;
    }
  }
  return { shape: [m, n], data };
}

export const quantizedOps = {
  /** x f32 (M, K), weight u8 (N, K/block, block) around 128, scales f32 (N, K/block), bias f32 (N) optional. */
  linearBlock8: op<{ readonly block: number; readonly width: number }>({
    infer: ([x, weight, scales, bias], { block, width }) => {
      requireRank("linearBlock8", x!, 2);
      if (x!.shape[1] !== width) {
        throw new ToklipError("SHAPE_MISMATCH", `linearBlock8: expected (M, ${width}), got ${formatShape(x!.shape)}`);
      }
      const n = staticDim("linearBlock8", weight!.shape, 0);
      const blocks = Math.ceil(width / block);
      requireShape("linearBlock8", "weight", weight!, [n, blocks, block]);
      requireShape("linearBlock8", "scales", scales!, [n, blocks]);
      if (bias) requireShape("linearBlock8", "bias", bias, [n]);
      return [{ dtype: "f32", shape: [x!.shape[0]!, n] }];
    },
    lower: (onnx, [x, weight, scales, bias], { block, width }, { outputs }) =>
      onnx.node(
        "MatMulNBits",
        // Inputs 3 to 5 are zero points, group indices and bias.
        bias === undefined ? [x!, weight!, scales!] : [x!, weight!, scales!, "", "", bias],
        { K: width, N: outputs[0]!.shape[1] as number, bits: 8, block_size: block, accuracy_level: 4 },
        { domain: "com.microsoft" },
      ),
    evaluate: ([x, weight, scales, bias], { block }) => {
      const [n, blocks] = scales!.shape as [number, number];
      const at = (row: number, k: number) =>
        (weight!.data[row * blocks * block + k]! - 128) * scales!.data[row * blocks + Math.floor(k / block)]!;
      return [linear(x!, at, bias, n)];
    },
  }),
  /** x f32 (M, K), weight i8 (K, N), scales f32 (N), bias f32 (N). */
  linearRow8: op<NoAttrs>({
    infer: ([x, weight, scales, bias]) => {
      requireRank("linearRow8", x!, 2);
      const n = staticDim("linearRow8", weight!.shape, 1);
      requireShape("linearRow8", "weight", weight!, [x!.shape[1]!, n]);
      requireShape("linearRow8", "scales", scales!, [n]);
      requireShape("linearRow8", "bias", bias!, [n]);
      return [{ dtype: "f32", shape: [x!.shape[0]!, n] }];
    },
    // The empty input is the zero point: symmetric weights have none.
    lower: (onnx, [x, weight, scales, bias]) =>
      onnx.node("DynamicQuantizeMatMul", [x!, weight!, scales!, "", bias!], {}, { domain: "com.microsoft" }),
    evaluate: ([x, weight, scales, bias]) => {
      const n = scales!.data.length;
      return [linear(x!, (row, k) => weight!.data[k * n + row]! * scales!.data[row]!, bias, n)];
    },
  }),
};
