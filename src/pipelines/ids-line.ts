/**
 * The one-line form of a tokenized picture, `{"file": string, "grid": [h, w], "ids": [h*w integers]}`: what `tokenize`
 * writes and `reconstruct`, `--resume` and `train ar` read. Of a picture in several variants, `ids` is a list of such lists,
 * the first of the picture as it is; with its captions there are `captions` and perhaps `concept`. Lines are untrusted input.
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
  /** Those of other variants. */
  readonly variants?: readonly Int32Array[];
}

/** A line of a picture with what its data set says of it. */
export interface DescribedIdsLine extends IdsLine {
  readonly captions?: readonly string[];
  readonly concept?: string;
}

/** Writes one line, without its line end. */
export function formatIdsLine({ file, grid, ids, variants, captions, concept }: DescribedIdsLine): string {
  const written = variants === undefined ? Array.from(ids) : [ids, ...variants].map((each) => Array.from(each));
  return JSON.stringify({ file, grid, ids: written, captions, concept });
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
  const lists = variantsIn(ids);
  if (lists === undefined) throw wrong(`"ids" is not a list of integers from 0 to 2147483647`);
  for (const { length } of lists) {
    if (length !== grid[0]! * grid[1]! || length === 0) {
      throw wrong(`${length} ids do not fill a grid of ${grid[0]}x${grid[1]}`);
    }
  }
  const [first, ...others] = lists.map((list) => Int32Array.from(list));
  return { file, grid: [grid[0]!, grid[1]!], ids: first!, ...(others.length > 0 && { variants: others }) };
}

/** A list of ids, or one for each variant. */
function variantsIn(ids: unknown): readonly number[][] | undefined {
  if (isIntegers(ids)) return [ids];
  return Array.isArray(ids) && ids.every(isIntegers) ? ids : undefined;
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
