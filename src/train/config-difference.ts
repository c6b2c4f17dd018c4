/** What differs between two configurations, by the path of each key: `optimizer.lr`. */
import type { JsonValue } from "../data/dataset.ts";
import { crc32c } from "../files/crc32c.ts";

/** A key with different values; `undefined` where it is absent. */
export interface ConfigDifference {
  readonly path: string;
  readonly before: JsonValue | undefined;
  readonly after: JsonValue | undefined;
}

/**
 * The keys that differ, in the order of `before`.
 * @param mayDiffer paths that are not compared, each with all that is below it.
 */
export function configDifferences(
  before: JsonValue,
  after: JsonValue,
  mayDiffer: readonly string[] = [],
): readonly ConfigDifference[] {
  const compare = (path: string, a: JsonValue | undefined, b: JsonValue | undefined): ConfigDifference[] => {
    if (mayDiffer.includes(path)) return [];
    if (isPlain(a) && isPlain(b)) {
      const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
      return [...keys].flatMap((key) => compare(path === "" ? key : `${path}.${key}`, own(a, key), own(b, key)));
    }
    return canonical(a) === canonical(b) ? [] : [{ path, before: a, after: b }];
  };
  return compare("", before, after);
}

/** A short text that is the same for configurations without differences: eight hex digits. */
export function configFingerprint(config: JsonValue, mayDiffer: readonly string[] = []): string {
  const text = canonical(without(config, mayDiffer, "")) ?? "";
  return crc32c(new TextEncoder().encode(text)).toString(16).padStart(8, "0");
}

type Plain = { readonly [key: string]: JsonValue };

function isPlain(value: JsonValue | undefined): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Keys such as `constructor` are no values of their own. */
function own(value: Plain, key: string): JsonValue | undefined {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

/** JSON with sorted keys. */
function canonical(value: JsonValue | undefined): string | undefined {
  return JSON.stringify(value, (_, held: JsonValue) =>
    isPlain(held) ? Object.fromEntries(Object.entries(held).sort(([a], [b]) => (a < b ? -1 : 1))) : held,
  );
}

function without(value: JsonValue, paths: readonly string[], at: string): JsonValue {
  if (!isPlain(value)) return value;
  const pathOf = (key: string): string => (at === "" ? key : `${at}.${key}`);
  const kept = Object.entries(value).filter(([key]) => !paths.includes(pathOf(key)));
  return Object.fromEntries(kept.map(([key, held]) => [key, without(held, paths, pathOf(key))]));
}
