/**
 * A temporary file for weights that were made in memory (8-bit ones): ONNX Runtime maps them from there, instead of
 * holding them once more inside the model's own bytes. Removed once the session has read it.
 */
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeError } from "./file-errors.ts";

/** Where each piece begins: what vector instructions and typed arrays want. */
const ALIGNMENT = 64;

export class SpillFile {
  private opened: Promise<{ readonly folder: string; readonly path: string; readonly file: FileHandle }> | undefined;
  private end = 0;

  /** Appends bytes and says where they are. @throws FILE_WRITE_FAILED */
  async append(
    bytes: Uint8Array,
  ): Promise<{ readonly path: string; readonly offset: number; readonly length: number }> {
    const offset = Math.ceil(this.end / ALIGNMENT) * ALIGNMENT;
    try {
      this.opened ??= this.create();
      const { path, file } = await this.opened;
      await file.write(bytes, 0, bytes.byteLength, offset);
      this.end = offset + bytes.byteLength;
      return { path, offset, length: bytes.byteLength };
    } catch (thrown) {
      throw writeError(thrown, tmpdir());
    }
  }

  /** Removes the file, if one was made. */
  async remove(): Promise<void> {
    if (this.opened === undefined) return;
    const opened = await this.opened.catch(() => undefined);
    if (opened === undefined) return;
    const { folder, file } = opened;
    await file.close();
    await rm(folder, { recursive: true, force: true });
  }

  private async create() {
    const folder = await mkdtemp(join(tmpdir(), "toklip-"));
    const path = join(folder, "weights.bin");
    return { folder, path, file: await open(path, "wx", 0o600) };
  }
}
