/**
 * Feature files that grow row by row to a length nobody knows beforehand: `.safetensors` (several tensors and the rows'
 * names) and `.npy` (one array). A format's header comes first and holds the number of rows, so rows stream to one plain
 * file a tensor in `<path>.parts/`, and the file itself is put together at the end, under its name only when it is whole.
 * Memory is bounded by what is appended at once; the disk holds the rows twice while the file is put together.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import path from "node:path";
import { type ByteSink, bytesOf, messageOf, sizeOf, ToklipError } from "../core/index.ts";
import { writeNpy } from "../files/npy.ts";
import { type TensorSpec, writeSafetensors } from "../files/safetensors-writer.ts";
import { openAtomicFile } from "./atomic-file.ts";
import { makeFolder } from "./make-folder.ts";

/** One tensor of the file: f32 `(rows, ...rowShape)`. */
export interface RowTensor {
  readonly name: string;
  readonly rowShape: readonly number[];
}

export interface RowFileOptions {
  /** Rows of an interrupted run that are kept; its other rows are cut off. Default 0. */
  readonly keepRows?: number;
}

/** What the file says beside its tensors. `.npy` has no place for it. */
export interface RowFileEnd {
  /** The name of each row, stored as the JSON array `files` of the metadata where all fit in 90 MB. */
  readonly names?: Iterable<string>;
  readonly metadata?: Readonly<Record<string, string>>;
}

interface Part {
  readonly tensor: RowTensor;
  readonly rowBytes: number;
  readonly path: string;
  readonly handle: FileHandle;
}

type PutTogether = (
  sink: ByteSink,
  tensors: readonly TensorSpec[],
  parts: readonly Part[],
  end: RowFileEnd,
) => Promise<void>;

/** One row a format, by extension. */
const FORMATS: Readonly<Record<string, PutTogether>> = {
  ".safetensors": (sink, tensors, parts, { names = [], metadata }) => {
    const files = JSON.stringify([...names]);
    const fits = files.length > 2 && files.length < LARGEST_NAMES;
    return writeSafetensors(sink, tensors, (name) => bytesOfPart(parts, name), { ...metadata, ...(fits && { files }) });
  },
  ".npy": async (sink, [tensor], [part]) => {
    await writeNpy(sink, { dtype: "f32", shape: tensor!.shape, data: new Float32Array(0) }); // the header alone
    for await (const bytes of createReadStream(part!.path)) await sink.write(bytes as Uint8Array);
  },
};

/** A safetensors header may have 100 MB; this leaves room for the rest of it. */
const LARGEST_NAMES = 90e6;

function bytesOfPart(parts: readonly Part[], name: string): AsyncIterable<Uint8Array> {
  return createReadStream(parts.find(({ tensor }) => tensor.name === name)!.path, { highWaterMark: 1 << 20 });
}

/**
 * Checks that a path names a kind of feature file.
 * @throws FILE_UNSUPPORTED listing the extensions there are
 */
export function checkRowFilePath(file: string, extensions: readonly string[] = Object.keys(FORMATS)): void {
  if (extensions.includes(path.extname(file).toLowerCase())) return;
  throw new ToklipError("FILE_UNSUPPORTED", `${file}: features are written as ${extensions.join(" or ")}`);
}

/** A feature file in the making. */
export class RowFile {
  private readonly path: string;
  private readonly parts: readonly Part[];
  private count: number;

  private constructor(file: string, parts: readonly Part[], count: number) {
    this.path = file;
    this.parts = parts;
    this.count = count;
  }

  /**
   * Begins a file, or goes on with an interrupted one.
   * @throws FILE_UNSUPPORTED, FILE_WRITE_FAILED; RESUME_MISMATCH when there are fewer rows than are to be kept
   */
  static async open(
    file: string,
    tensors: readonly RowTensor[],
    { keepRows = 0 }: RowFileOptions = {},
  ): Promise<RowFile> {
    checkRowFilePath(file);
    return writing(file, async () => {
      await makeFolder(partsOf(file));
      const parts: Part[] = [];
      for (const tensor of tensors) parts.push(await openPart(file, tensor, keepRows));
      return new RowFile(file, parts, keepRows);
    });
  }

  /**
   * Appends one row to every tensor.
   * @throws SHAPE_MISMATCH, FILE_WRITE_FAILED
   */
  async append(values: Readonly<Record<string, Float32Array>>): Promise<void> {
    await writing(this.path, async () => {
      for (const { tensor, rowBytes, handle } of this.parts) {
        const row = values[tensor.name];
        if (row?.byteLength !== rowBytes) {
          const message = `${tensor.name}: a row of ${rowBytes / 4} values was expected, got ${row?.length ?? "none"}`;
          throw new ToklipError("SHAPE_MISMATCH", message);
        }
        await handle.appendFile(bytesOf(row));
      }
      this.count++;
    });
  }

  /**
   * Puts the file together under its name, replacing one that is there, and removes the parts.
   * @throws FILE_WRITE_FAILED, leaving the parts for another try
   */
  async finish(end: RowFileEnd = {}): Promise<void> {
    await this.close();
    const specs = this.parts.map(({ tensor }) => ({
      name: tensor.name,
      dtype: "f32" as const,
      shape: [this.count, ...tensor.rowShape],
    }));
    await writing(this.path, async () => {
      const sink = await openAtomicFile(this.path, { overwrite: true });
      try {
        await FORMATS[path.extname(this.path).toLowerCase()]!(sink, specs, this.parts, end);
        await sink.commit();
      } catch (error) {
        await sink.abort();
        throw error;
      }
      await RowFile.discard(this.path);
    });
  }

  /** Closes the parts and leaves them on disk, to go on later. */
  async close(): Promise<void> {
    await Promise.all(this.parts.map(({ handle }) => handle.close()));
  }

  /** Removes the parts of a file that was not finished, as far as that can be done. Never rejects. */
  static async discard(file: string): Promise<void> {
    await rm(partsOf(file), { recursive: true, force: true }).catch(() => undefined);
  }

  /** Whether an interrupted run left parts. */
  static hasParts(file: string): Promise<boolean> {
    return stat(partsOf(file)).then(
      () => true,
      () => false,
    );
  }
}

function partsOf(file: string): string {
  return `${file}.parts`;
}

async function openPart(file: string, tensor: RowTensor, keepRows: number): Promise<Part> {
  const rowBytes = 4 * sizeOf(tensor.rowShape);
  const partPath = path.join(partsOf(file), `${tensor.name}.f32`);
  const handle = await open(partPath, "a");
  const { size } = await handle.stat();
  if (size < keepRows * rowBytes) {
    await handle.close();
    const rows = Math.floor(size / rowBytes);
    throw new ToklipError(
      "RESUME_MISMATCH",
      `${file}: holds ${rows} rows of ${tensor.name}, but ${keepRows} ids were written`,
    );
  }
  await handle.truncate(keepRows * rowBytes);
  return { tensor, rowBytes, path: partPath, handle };
}

/** Runs file work; what the system refuses becomes FILE_WRITE_FAILED. */
async function writing<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ToklipError) throw error;
    throw new ToklipError("FILE_WRITE_FAILED", `${file}: ${messageOf(error)}`, { cause: error });
  }
}
