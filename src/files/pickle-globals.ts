/** The Python globals that checkpoints use for plain data, and the data they stand for. */
import { f16ToNumber } from "../core/index.ts";
import { PickleGlobal, PickleObject, type Reducer, type ReducerTable, type Spend } from "./pickle-values.ts";

/** Copied bytes or characters for one unit of work. */
const COPIED_PER_UNIT = 64;

function ordered([pairs]: readonly unknown[], spend: Spend): unknown {
  if (pairs === undefined) return new Map();
  if (pairs instanceof Map) {
    spend(pairs.size);
    return new Map(pairs);
  }
  if (!Array.isArray(pairs)) return undefined;
  spend(pairs.length);
  if (!pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) return undefined;
  return new Map(pairs as [unknown, unknown][]);
}

function setOf([items]: readonly unknown[], spend: Spend): unknown {
  if (items === undefined) return new Set();
  if (!Array.isArray(items)) return undefined;
  spend(items.length);
  return new Set(items);
}

/** Python 3 writes bytes for old protocols as text of code points 0 to 255. */
function encode([text, encoding]: readonly unknown[], spend: Spend): unknown {
  if (typeof text !== "string" || encoding !== "latin1") return undefined;
  spend(text.length / COPIED_PER_UNIT);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 255) return undefined;
    bytes[i] = code;
  }
  return bytes;
}

/** How one element of each numpy type is read. */
const SCALARS = new Map<string, (view: DataView, little: boolean) => unknown>([
  ["f8", (view, little) => view.getFloat64(0, little)],
  ["f4", (view, little) => view.getFloat32(0, little)],
  ["f2", (view, little) => f16ToNumber(view.getUint16(0, little))],
  ["i8", (view, little) => plainInteger(view.getBigInt64(0, little))],
  ["i4", (view, little) => view.getInt32(0, little)],
  ["i2", (view, little) => view.getInt16(0, little)],
  ["i1", (view) => view.getInt8(0)],
  ["u8", (view, little) => plainInteger(view.getBigUint64(0, little))],
  ["u4", (view, little) => view.getUint32(0, little)],
  ["u2", (view, little) => view.getUint16(0, little)],
  ["u1", (view) => view.getUint8(0)],
  ["b1", (view) => view.getUint8(0) !== 0],
]);

/** `numpy.core.multiarray.scalar(dtype, bytes)`. The state of a dtype is (version, byte order, ...). */
function numpyScalar([dtype, bytes]: readonly unknown[]): unknown {
  if (!(dtype instanceof PickleObject) || !(bytes instanceof Uint8Array)) return undefined;
  const code = dtype.args[0];
  const order = Array.isArray(dtype.state) ? dtype.state[1] : "|";
  const read = typeof code === "string" ? SCALARS.get(code) : undefined;
  if (read === undefined || bytes.byteLength !== Number((code as string).slice(1))) return undefined;
  return read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), order !== ">");
}

/** A number where it is exact, otherwise a bigint. */
export function plainInteger(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

const emptyDict: Reducer = () => new Map();
const byName: Reducer = ([name]) => (typeof name === "string" ? name : undefined);

/** Called by the names of both Python 2 and 3, and of numpy before and after 2.0. */
export const PLAIN_GLOBALS: ReducerTable = new Map<string, Reducer>([
  ["collections.OrderedDict", ordered],
  ["collections.defaultdict", emptyDict],
  ["builtins.dict", ordered],
  ["__builtin__.dict", ordered],
  ["builtins.set", setOf],
  ["__builtin__.set", setOf],
  ["builtins.frozenset", setOf],
  ["__builtin__.frozenset", setOf],
  ["builtins.bytearray", ([bytes]) => (bytes instanceof Uint8Array ? bytes : undefined)],
  ["_codecs.encode", encode],
  ["numpy.core.multiarray.scalar", numpyScalar],
  ["numpy._core.multiarray.scalar", numpyScalar],
  ["torch.Size", ([dims]) => (Array.isArray(dims) ? dims : undefined)],
  ["torch.device", byName],
]);

/** Whether a call stands for an `argparse.Namespace`, whose state is its dictionary. */
export function isNamespace(value: PickleObject): boolean {
  return isGlobal(value.global, "argparse", "Namespace");
}

/** Whether a value is the global of this name. */
export function isGlobal(value: unknown, module: string, name: string): boolean {
  return value instanceof PickleGlobal && value.module === module && value.name === name;
}
