/** Grouping a stream into batches. */
import { ToklipError } from "../core/index.ts";

/**
 * Yields the items in groups of `size`, in order; the last group may be smaller, none is empty.
 * @throws ARGUMENT_INVALID when `size` is not a positive integer.
 */
export async function* batches<T>(
  items: AsyncIterable<T> | Iterable<T>,
  size: number,
): AsyncGenerator<T[], void, undefined> {
  if (!Number.isInteger(size) || size < 1) {
    throw new ToklipError("ARGUMENT_INVALID", `batches: size must be a positive integer, got ${size}`);
  }
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
