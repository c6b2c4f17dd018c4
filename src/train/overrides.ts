/** Changes of a configuration from the command line: `optimizer.learning_rate=1e-4`. */
import { ToklipError } from "../core/index.ts";

type Json = Record<string, unknown>;

/** A value as it is written on a command line: JSON where it is JSON, and text otherwise. */
function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withValue(json: Json, [key, ...rest]: readonly string[], value: unknown): Json {
  if (rest.length === 0) return { ...json, [key!]: value };
  const inner = json[key!];
  return { ...json, [key!]: withValue(isObject(inner) ? inner : {}, rest, value) };
}

/**
 * The configuration with each `path=value` applied in turn. Paths name keys of objects, joined by dots.
 * @throws ARGUMENT_INVALID for one that is not of that form
 */
export function withOverrides(json: unknown, overrides: readonly string[]): unknown {
  return overrides.reduce<unknown>((config, override) => {
    const [, path, value] = /^([a-z_][\w.]*)=(.*)$/is.exec(override) ?? [];
    const keys = path?.split(".") ?? [];
    if (value === undefined || keys.some((key) => key === "" || key === "__proto__")) {
      throw new ToklipError(
        "ARGUMENT_INVALID",
        `${override}: expected key=value, such as optimizer.learning_rate=1e-4`,
      );
    }
    return withValue(isObject(config) ? config : {}, keys, parseValue(value));
  }, json);
}
