/**
 * PyTorch checkpoints: zip archives of one pickle, `data.pkl`, and one stored record a storage, `data/0`, `data/1`, ...
 * Opening reads the zip's directory and the pickle and runs nothing; tensors stay where they are.
 * Format: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst
 * Not here: files of PyTorch before 1.6 (a bare pickle or a tar), TorchScript archives, whole pickled modules.
 */
import { type ByteSource, DTYPES, type DType, ToklipError } from "../core/index.ts";
import { type Checkpoint, checkEntry, type TensorEntry } from "./checkpoint.ts";
import { readPickle } from "./pickle.ts";
import { quoted } from "./quoted.ts";
import { checkCounts, isDense, storageSpan } from "./tensor-layout.ts";
import { chooseWeights, layoutMetadata, type WeightsChoice } from "./torch-layout.ts";
import { type StorageReference, storageOf, type TensorReference, TORCH_GLOBALS } from "./torch-pickle.ts";
import { locateZipEntry, readZipDirectory, type ZipEntry } from "./zip.ts";

/** How a PyTorch checkpoint is opened. */
export interface TorchOptions {
  /** `model` (default): the weights as trained. `ema`: their running average, where the file holds one. */
  readonly weights?: WeightsChoice | undefined;
}

/** A pickle of a million tensors. */
const MAX_PICKLE_BYTES = 256 * 2 ** 20;
/** Local headers that are read at a time. */
const READS_AT_ONCE = 64;

interface Archive {
  readonly source: ByteSource;
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** The folder of the archive that everything is in, with its slash. */
  readonly folder: string;
}

/**
 * Opens a PyTorch checkpoint: finds its weights in any of the layouts of `chooseWeights` and checks each tensor against
 * its storage. `close()` closes the source; when opening fails the source stays the caller's.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED; CHECKPOINT_MISMATCH when it does not hold the weights asked for.
 */
export async function openTorch(source: ByteSource, options: TorchOptions = {}): Promise<Checkpoint> {
  const archive = await openArchive(source);
  const root = await readRoot(archive);
  const { tensors: references, holder } = chooseWeights(root, source.name, options.weights ?? "model");
  const offsets = await locateStorages(archive, references.values());
  const tensors = new Map<string, TensorEntry>();
  for (const [name, reference] of references) {
    tensors.set(name, resolveTensor(name, reference, archive, offsets.get(reference.storage.key)!));
  }
  return {
    format: "torch",
    name: source.name,
    tensors,
    metadata: layoutMetadata(root, holder),
    close: async () => source.close?.(),
  };
}

async function openArchive(source: ByteSource): Promise<Archive> {
  const entries = await readZipDirectory(source);
  const pickles = [...entries.keys()].filter((name) => /^[^/]*\/data\.pkl$/.test(name));
  const folder = pickles[0]?.slice(0, -"data.pkl".length);
  if (folder === undefined || pickles.length > 1) {
    throw new ToklipError("FILE_UNSUPPORTED", `torch: a zip archive without one data.pkl (${source.name})`);
  }
  if (entries.has(`${folder}constants.pkl`)) {
    throw new ToklipError("FILE_UNSUPPORTED", `torch: a TorchScript archive, expected a state_dict (${source.name})`);
  }
  const archive = { source, entries, folder };
  await checkByteOrder(archive);
  return archive;
}

async function checkByteOrder({ source, entries, folder }: Archive): Promise<void> {
  const entry = entries.get(`${folder}byteorder`);
  if (entry === undefined) return; // before PyTorch 2.1: little-endian
  const text = await source.read(await locateZipEntry(source, entry), Math.min(entry.size, 16));
  if (String.fromCharCode(...text) !== "little") {
    throw new ToklipError("FILE_UNSUPPORTED", `torch: byte order is not little-endian (${source.name})`);
  }
}

async function readRoot({ source, entries, folder }: Archive): Promise<unknown> {
  const entry = entries.get(`${folder}data.pkl`)!;
  if (entry.size > MAX_PICKLE_BYTES) {
    throw new ToklipError("FILE_UNSUPPORTED", `torch: data.pkl has ${entry.size} bytes, too many (${source.name})`);
  }
  const bytes = await source.read(await locateZipEntry(source, entry), entry.size);
  return readPickle(bytes, {
    name: `${source.name}, data.pkl`,
    globals: TORCH_GLOBALS,
    persistent: (id) => storageOf(id, source.name),
  });
}

/** The offsets in the file of the storages that the tensors use, by the storages' keys. */
async function locateStorages(archive: Archive, tensors: Iterable<TensorReference>): Promise<Map<string, number>> {
  const keys = [...new Set(Array.from(tensors, ({ storage }) => storage.key))];
  const offsets = new Map<string, number>();
  for (let at = 0; at < keys.length; at += READS_AT_ONCE) {
    const batch = keys.slice(at, at + READS_AT_ONCE);
    const found = await Promise.all(batch.map((key) => locateZipEntry(archive.source, recordOf(archive, key))));
    for (const [i, key] of batch.entries()) offsets.set(key, found[i]!);
  }
  return offsets;
}

function recordOf({ source, entries, folder }: Archive, key: string): ZipEntry {
  const entry = entries.get(`${folder}data/${key}`);
  if (entry === undefined) {
    throw new ToklipError("FILE_CORRUPT", `torch: the storage ${quoted(key)} is missing (${source.name})`);
  }
  return entry;
}

function resolveTensor(name: string, reference: TensorReference, archive: Archive, offset: number): TensorEntry {
  const { source } = archive;
  const what = `torch: tensor ${quoted(name)}`;
  const dtype = reference.dtype;
  if (dtype === undefined) {
    const type = reference.dtypeName ?? reference.storage.type;
    throw new ToklipError("FILE_UNSUPPORTED", `${what} has the unsupported type ${quoted(type)} (${source.name})`);
  }
  const size = DTYPES[dtype].bytes;
  const storageBytes = checkStorage(reference.storage, dtype, recordOf(archive, reference.storage.key), source);
  const shape = checkCounts(reference.shape, `${what}: shape (${source.name})`);
  const strides = checkCounts(reference.strides, `${what}: strides (${source.name})`);
  const [first] = checkCounts([reference.offset], `${what}: offset (${source.name})`) as [number];
  if (strides.length !== shape.length || (first + storageSpan(shape, strides)) * size > storageBytes) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `${what}: ${dtype} [${shape}] at ${first} with strides [${strides}] ` +
        `does not lie in its storage of ${storageBytes} bytes (${source.name})`,
    );
  }
  const dense: TensorEntry = { name, dtype, shape, source, offset: offset + first * size };
  const entry = isDense(shape, strides) ? dense : { ...dense, strides };
  checkEntry(entry);
  return entry;
}

/** A storage's size in bytes, which the pickle and the archive must agree on. */
function checkStorage(storage: StorageReference, dtype: DType, record: ZipEntry, source: ByteSource): number {
  const [count] = checkCounts([storage.count], `torch: storage ${quoted(record.name)}: size (${source.name})`) as [
    number,
  ];
  const bytes = count * (storage.type === "UntypedStorage" ? 1 : DTYPES[dtype].bytes);
  if (bytes !== record.size) {
    throw new ToklipError(
      "FILE_CORRUPT",
      `torch: storage ${quoted(record.name)} has ${record.size} bytes, expected ${bytes} (${source.name})`,
    );
  }
  return bytes;
}
