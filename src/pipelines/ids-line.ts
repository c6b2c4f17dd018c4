/**
 * The one-line form of a tokenized picture, `{"file": string, "grid": [h, w], "ids": [h*w integers]}`: what `tokenize`
 * writes and `reconstruct`, `--resume` and later training read. Lines are untrusted input.
 */
import { messageOf, ToklipError } from "../core/index.ts";
import type { ToklipConfig } from "../models/config.ts";
import { gridOf } from "../models/vision-transformer.ts";

/** The ids of one picture. */
export interface IdsLine {
  readonly file: string;
  /** The grid [h, w]. */
  readonly grid: readonly [number, number];
  /** Row-major, `h * w` of them, each a non-negative int32. */
  readonly ids: Int32Array;
}

/** Writes one line, without its line end. */
export function formatIdsLine({ file, grid, ids }: IdsLine): string {
  return JSON.stringify({ file, grid, ids: Array.from(ids) });
}

/**
 * Reads one line. `where` names it in messages, as `ids.jsonl:3`.
 * @throws FILE_CORRUPT when it is not such a line
 */
export function parseIdsLine(text: string, where: string): IdsLine {
  const wrong = (what: string): ToklipError =>
    new ToklipError("FILE_CORRUPT", `${where}: ${what}; expected {"file", "grid": [h, w], "ids": [...]}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ToklipError("FILE_CORRUPT", `${where}: not JSON (${messageOf(error).slice(0, 80)})`);
  }
  if (typeof json !== "object" || json === null) throw wrong("not an object");
  const { file, grid, ids } = json as Record<string, unknown>;
  if (typeof file !== "string" || file === "") throw wrong(`"file" is not a name`);
  if (!isIntegers(grid) || grid.length !== 2) throw wrong(`"grid" is not two sizes`);
  if (!isIntegers(ids)) throw wrong(`"ids" is not a list of integers from 0 to 2147483647`);
  if (ids.length !== grid[0]! * grid[1]! || ids.length === 0) {
    throw wrong(`${ids.length} ids do not fill a grid of ${grid[0]}x${grid[1]}`);
  }
  return { file, grid: [grid[0]!, grid[1]!], ids: Int32Array.from(ids) };
}

function isIntegers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isInteger(n) && n >= 0 && n <= 0x7fffffff);
}

/**
 * Checks that a model can read these ids.
 * @throws IDS_GRID_MISMATCH, IDS_OUT_OF_RANGE
 */
export function checkIds({ grid, ids }: Pick<IdsLine, "grid" | "ids">, config: ToklipConfig, where: string): void {
  const { side } = gridOf(config.trunk);
  if (grid[0] !== side || grid[1] !== side) {
    const message = `${where}: a grid of ${grid[0]}x${grid[1]}, but ${config.name} has ${side}x${side}`;
    throw new ToklipError("IDS_GRID_MISMATCH", message);
  }
  const size = config.vq?.codebookSize ?? 0;
  const outside = ids.find((id) => id < 0 || id >= size);
  if (outside !== undefined) {
    throw new ToklipError("IDS_OUT_OF_RANGE", `${where}: id ${outside} is outside the codebook of ${size}`);
  }
}
