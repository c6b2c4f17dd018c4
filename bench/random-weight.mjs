// Random weights for benchmarks, as a training begins with them.
import { ndarray } from "../dist/core/index.js";
import { initialPieces } from "../dist/models/index.js";

/** @param {string} name @param {readonly number[]} shape */
export function randomWeight(name, shape) {
  const array = ndarray("f32", shape);
  let at = 0;
  for (const piece of initialPieces(name, shape, 1)) {
    array.data.set(piece, at);
    at += piece.length;
  }
  return array;
}
