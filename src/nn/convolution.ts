/** Convolution layers, in PyTorch's layout: weight (out, in, kH, kW), bias (out). */
import { type Conv2dOptions, conv2d as convolve, type Tensor } from "../graph/index.ts";
import type { Scope } from "./scope.ts";

/** A module `{weight, bias}`: x (B, in, H, W) -> (B, outChannels, H', W'). */
export function conv2d(
  scope: Scope,
  x: Tensor,
  outChannels: number,
  kernel: number,
  options: Conv2dOptions = {},
): Tensor {
  const weight = scope.parameter("weight", [outChannels, x.shape[1] as number, kernel, kernel]);
  return convolve(x, weight, scope.parameter("bias", [outChannels]), options);
}

/** A 3x3 convolution that keeps the size. */
export function conv3x3(scope: Scope, x: Tensor, outChannels: number): Tensor {
  return conv2d(scope, x, outChannels, 3, { pads: [1, 1, 1, 1] });
}
