/** A run's folder in memory, which can be told to fail or to die at any of its operations. */
import { memorySource, ToklipError } from "../../src/core/index.ts";
import type { AtomicSink } from "../../src/files/index.ts";
import type { GrowingFile, RunStorage } from "../../src/train/run-storage.ts";
import { joinBytes } from "../files/pickle-writer.ts";

export class MemoryStorage implements RunStorage {
  readonly name = "run";
  readonly files = new Map<string, Uint8Array>();
  /** Changes made so far. */
  operations = 0;
  /** Called before each change; what it throws is the change's failure. */
  beforeChange: (what: string, bytes: number) => void = () => {};

  private change(what: string, bytes = 0): void {
    this.operations++;
    this.beforeChange(what, bytes);
  }

  text(path: string): string {
    return new TextDecoder().decode(this.files.get(path));
  }

  async list(folder: string): Promise<readonly string[]> {
    const prefix = folder === "" ? "" : `${folder}/`;
    const inside = [...this.files.keys()].filter((path) => path.startsWith(prefix));
    return [...new Set(inside.map((path) => path.slice(prefix.length).split("/")[0]!))].sort();
  }

  async open(path: string) {
    const bytes = this.files.get(path);
    if (bytes === undefined) throw new ToklipError("FILE_NOT_FOUND", `${path}: does not exist`);
    return memorySource(bytes, path);
  }

  async create(path: string): Promise<AtomicSink> {
    this.change(`create ${path}`);
    const pieces: Uint8Array[] = [];
    return {
      write: async (bytes) => {
        this.change(`write ${path}`, bytes.byteLength);
        pieces.push(bytes.slice());
      },
      finish: async () => {},
      commit: async () => {
        this.change(`commit ${path}`);
        this.files.set(path, joinBytes(...pieces));
      },
      abort: async () => {},
    };
  }

  async append(path: string, keepBytes: number): Promise<GrowingFile> {
    this.change(`truncate ${path}`);
    this.files.set(path, (this.files.get(path) ?? new Uint8Array(0)).slice(0, keepBytes));
    return {
      write: async (bytes) => {
        this.change(`append ${path}`, bytes.byteLength);
        this.files.set(path, joinBytes(this.files.get(path)!, bytes));
      },
      sync: async () => {},
      close: async () => {},
    };
  }

  async remove(path: string): Promise<void> {
    const held = [...this.files.keys()].filter((file) => file === path || file.startsWith(`${path}/`));
    for (const file of held) {
      this.change(`remove ${file}`);
      this.files.delete(file);
    }
  }

  async sync(): Promise<void> {}

  async confirm(): Promise<void> {}
}

/** A full disk: writes beyond so many bytes fail, all of them. */
export function fillUp(storage: MemoryStorage, room: number): void {
  let left = room;
  storage.beforeChange = (what, bytes) => {
    left -= bytes;
    if (bytes > 0 && left < 0) {
      throw new ToklipError("FILE_WRITE_FAILED", `run/${what.split(" ")[1]}: could not be written (ENOSPC)`);
    }
  };
}

/** Thrown by a storage whose process is dead: not a `ToklipError`, so nothing handles it. */
export class Death extends Error {}

/** Kills the process at its n-th change from now on: neither that change nor any later one happens. */
export function dieAt(storage: MemoryStorage, n: number): void {
  let left = n;
  storage.beforeChange = () => {
    if (left-- <= 0) throw new Death();
  };
}
