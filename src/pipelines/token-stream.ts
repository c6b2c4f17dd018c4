/** Incremental token features: keys and values stay with the engine, each step sends ids and gets features. */
import { type LongCallOptions, type NDArray, ndarray, ToklipError } from "../core/index.ts";
import { STEP, type ToklipConfig } from "../models/index.ts";
import { gridOf } from "../models/vision-transformer.ts";
import type { Session, SessionState } from "../runtime/index.ts";
import type { TokenStream } from "./model.ts";

/** 0 where row i may see column j < visible(i), -Infinity elsewhere. */
function maskOf(rows: number, columns: number, visible: (row: number) => number): NDArray<"f32"> {
  const mask = ndarray("f32", [rows, columns]);
  for (let i = 0; i < rows; i++) mask.data.fill(Number.NEGATIVE_INFINITY, i * columns + visible(i), (i + 1) * columns);
  return mask;
}

/**
 * Starts `batch` sequences at position 0.
 * @param check throws where ids do not belong to the model
 */
export async function startTokenStream(
  session: Session,
  config: ToklipConfig,
  batch: number,
  check: (ids: NDArray<"i32">) => void,
): Promise<TokenStream> {
  const { numHeads, width, depth } = config.trunk;
  const { tokens } = gridOf(config.trunk);
  const blocks = Array.from({ length: depth }, (_, block) => block);
  const caches = { keys: blocks.map(STEP.keys), values: blocks.map(STEP.values) };
  const shape = [batch, numHeads, tokens, width / numHeads];
  const shapes = Object.fromEntries([...caches.keys, ...caches.values].map((name) => [name, shape]));
  const state: SessionState = await session.createState(shapes);
  let position = 0;
  return {
    get position() {
      return position;
    },
    async step(ids: NDArray<"i32">, options: LongCallOptions = {}): Promise<NDArray<"f32">> {
      const [rows, length] = ids.shape as [number, number];
      if (ids.shape.length !== 2 || rows !== batch || length < 1) {
        throw new ToklipError("SHAPE_MISMATCH", `step: expected ids (${batch}, k) with k >= 1, got [${ids.shape}]`);
      }
      if (position + length > tokens) {
        throw new ToklipError(
          "IDS_GRID_MISMATCH",
          `step: ${length} ids after position ${position} pass the grid's ${tokens}`,
        );
      }
      check(ids);
      const feeds = {
        [STEP.ids]: ids,
        [STEP.positions]: ndarray(
          "i32",
          [length],
          Int32Array.from({ length }, (_, i) => position + i),
        ),
        [STEP.cacheMask]: maskOf(1, tokens, () => position),
        [STEP.newMask]: maskOf(length, length, (row) => row + 1),
      };
      const writes = [
        { output: STEP.newKeys, arrays: caches.keys, axis: 2, at: position },
        { output: STEP.newValues, arrays: caches.values, axis: 2, at: position },
      ];
      const outputs = await session.run(feeds, { ...options, state, writes });
      position += length;
      return outputs[STEP.features] as NDArray<"f32">;
    },
    reset() {
      position = 0;
    },
    dispose: () => state.dispose(),
  };
}
