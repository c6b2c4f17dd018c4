/**
 * What a PyTorch pickle says of its tensors: each is a call of a rebuilding function with a persistent id that names
 * the storage, kept outside the pickle. Both become inert references; no tensor is judged before it is asked for, since
 * a checkpoint may hold optimizer state that nobody reads.
 */
import { type DType, ToklipError } from "../core/index.ts";
import { PickleGlobal, type Reducer, type ReducerTable } from "./pickle.ts";

/** A storage outside the pickle: its record's name, and the name of its type. */
export class StorageReference {
  readonly key: string;
  readonly type: string;
  /** The number of elements, or of bytes where the storage is untyped. */
  readonly count: unknown;

  constructor(key: string, type: string, count: unknown) {
    this.key = key;
    this.type = type;
    this.count = count;
  }
}

/** A tensor as the pickle describes it, unchecked. */
export class TensorReference {
  readonly storage: StorageReference;
  readonly offset: unknown;
  readonly shape: unknown;
  readonly strides: unknown;
  /** Given by those tensors only whose storage is untyped. */
  readonly dtypeName: string | undefined;

  constructor(storage: StorageReference, offset: unknown, shape: unknown, strides: unknown, dtypeName?: string) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
    this.dtypeName = dtypeName;
  }

  /** The dtype; undefined for one that is not supported. */
  get dtype(): DType | undefined {
    return this.dtypeName === undefined ? STORAGE_DTYPES.get(this.storage.type) : TORCH_DTYPES.get(this.dtypeName);
  }
}

const STORAGE_DTYPES = new Map<string, DType>([
  ["DoubleStorage", "f64"],
  ["FloatStorage", "f32"],
  ["HalfStorage", "f16"],
  ["BFloat16Storage", "bf16"],
  ["LongStorage", "i64"],
  ["IntStorage", "i32"],
  ["ShortStorage", "i16"],
  ["CharStorage", "i8"],
  ["ByteStorage", "u8"],
  ["BoolStorage", "bool"],
  ["UntypedStorage", "u8"],
]);

const TORCH_DTYPES = new Map<string, DType>([
  ["float64", "f64"],
  ["float32", "f32"],
  ["float16", "f16"],
  ["bfloat16", "bf16"],
  ["int64", "i64"],
  ["int32", "i32"],
  ["int16", "i16"],
  ["uint16", "u16"],
  ["int8", "i8"],
  ["uint8", "u8"],
  ["bool", "bool"],
]);

/** `(storage, offset, shape, strides, ...)`. */
const rebuildTensor: Reducer = ([storage, offset, shape, strides]) =>
  storage instanceof StorageReference ? new TensorReference(storage, offset, shape, strides) : undefined;

/** `(storage, offset, shape, strides, requires_grad, hooks, dtype, ...)`. */
const rebuildUntyped: Reducer = ([storage, offset, shape, strides, , , dtype]) =>
  storage instanceof StorageReference && dtype instanceof PickleGlobal
    ? new TensorReference(storage, offset, shape, strides, dtype.name)
    : undefined;

/** `(tensor, ...)`. */
const sameTensor: Reducer = ([tensor]) => (tensor instanceof TensorReference ? tensor : undefined);

/** `(function, type, arguments, state)`: a subclass of tensor, rebuilt by one of the other functions. */
const rebuildSubclass: Reducer = ([callee, , args], spend) => {
  const rebuild = callee instanceof PickleGlobal ? TORCH_GLOBALS.get(String(callee)) : undefined;
  return rebuild === undefined || rebuild === rebuildSubclass || !Array.isArray(args)
    ? undefined
    : rebuild(args, spend);
};

/** The rebuilding functions of PyTorch that give tensors. */
export const TORCH_GLOBALS: ReducerTable = new Map<string, Reducer>([
  ["torch._utils._rebuild_tensor", rebuildTensor],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_tensor_v3", rebuildUntyped],
  ["torch._utils._rebuild_parameter", sameTensor],
  ["torch._utils._rebuild_parameter_with_state", sameTensor],
  ["torch._tensor._rebuild_from_type_v2", rebuildSubclass],
]);

/**
 * The storage that a persistent id `("storage", type, key, device, count)` names.
 * @throws FILE_CORRUPT for any other id.
 */
export function storageOf(id: unknown, file: string): StorageReference {
  const [kind, type, key, , count] = Array.isArray(id) ? id : [];
  if (kind !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string") {
    throw new ToklipError("FILE_CORRUPT", `torch: a persistent id is not that of a storage (${file})`);
  }
  return new StorageReference(key, type.name, count);
}
