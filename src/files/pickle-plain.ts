/**
 * A pickle's value as plain data that can be printed, stored as JSON and walked without care: a tree of bounded size.
 * The value itself may share its parts or contain itself, so a few hundred bytes can spell a tree of 2^100 leaves; what
 * is beyond the bounds becomes the text `...`.
 */
import { inertRecord } from "./inert-record.ts";
import { isNamespace } from "./pickle-globals.ts";
import { PickleGlobal, PickleObject } from "./pickle-values.ts";

const MAX_NODES = 20_000;
const MAX_DEPTH = 24;
const MAX_TEXT = 100_000;
const CUT = "...";

/**
 * Numbers, booleans, text and null as they are; maps as records, lists, tuples and sets as arrays; bigints as decimal
 * text; bytes as their number. A call of an unknown global is a record that says so.
 * @param describe the text for a value of the caller's own kinds; undefined for any other.
 */
export function plainTree(value: unknown, describe: (value: object) => string | undefined): unknown {
  let nodes = 0;
  let text = 0;
  const visit = (node: unknown, depth: number): unknown => {
    if (++nodes > MAX_NODES || depth > MAX_DEPTH) return CUT;
    if (typeof node === "string") {
      text += node.length;
      return text > MAX_TEXT ? CUT : node;
    }
    if (typeof node === "bigint") return String(node);
    if (typeof node !== "object" || node === null) return node ?? null;
    return (
      leafText(node, describe) ??
      branch(
        node,
        (child) => visit(child, depth + 1),
        () => nodes > MAX_NODES,
      )
    );
  };
  return visit(value, 0);
}

function leafText(node: object, describe: (value: object) => string | undefined): string | undefined {
  if (node instanceof Uint8Array) return `${node.byteLength} bytes`;
  if (node instanceof PickleGlobal) return String(node).slice(0, 1000);
  return describe(node);
}

/** Stops taking children once `full` says so, since one list may be walked many times. */
function branch(node: object, visit: (child: unknown) => unknown, full: () => boolean): unknown {
  const take = <T, R>(items: Iterable<T>, convert: (item: T) => R): R[] => {
    const taken: R[] = [];
    for (const item of items) {
      if (full()) break;
      taken.push(convert(item));
    }
    return taken;
  };
  const record = (map: Map<unknown, unknown>): unknown =>
    inertRecord(take(map, ([key, child]) => [keyText(key), visit(child)] as const));
  if (node instanceof Map) return record(node);
  if (Array.isArray(node) || node instanceof Set) return take(node, visit);
  if (!(node instanceof PickleObject)) return CUT;
  if (isNamespace(node) && node.state instanceof Map) return record(node.state);
  return inertRecord(take(objectFields(node), ([key, child]) => [key, visit(child)] as const));
}

function objectFields({ global, args, state, entries, items }: PickleObject): [string, unknown][] {
  const fields: [string, unknown][] = [["class", global]];
  if (args.length > 0) fields.push(["args", args]);
  if (state !== undefined) fields.push(["state", state]);
  if (entries !== undefined) fields.push(["entries", entries]);
  if (items !== undefined) fields.push(["items", items]);
  return fields;
}

function keyText(key: unknown): string {
  return typeof key === "object" ? "(object)" : String(key).slice(0, 1000);
}
