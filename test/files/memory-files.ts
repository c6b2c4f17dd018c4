/** A folder in memory that gives atomic sinks. */
import { type ByteSource, memorySource } from "../../src/core/index.ts";
import type { AtomicSink } from "../../src/files/index.ts";
import { joinBytes } from "./pickle-writer.ts";

export class MemoryFiles {
  /** What is visible, in the order in which it appeared. */
  readonly files = new Map<string, Uint8Array>();
  aborted = 0;
  largestWrite = 0;

  openSink = async (fileName: string): Promise<AtomicSink> => {
    const pieces: Uint8Array[] = [];
    return {
      write: async (bytes) => {
        this.largestWrite = Math.max(this.largestWrite, bytes.byteLength);
        pieces.push(bytes.slice());
      },
      finish: async () => {},
      commit: async () => void this.files.set(fileName, joinBytes(...pieces)),
      abort: async () => void this.aborted++,
    };
  };

  openSibling = async (fileName: string): Promise<ByteSource> => memorySource(this.files.get(fileName)!, fileName);
}
