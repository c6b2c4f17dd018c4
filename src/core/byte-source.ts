/** How the platform-free folders read and write bytes: interfaces only, the platform brings them in. */
import { ToklipError } from "./errors.ts";

/** Random access to bytes that do not change while they are read. */
export interface ByteSource {
  /** What to call it in messages: a file name, a URL. */
  readonly name: string;
  readonly byteLength: number;
  /** Where the platform can map the bytes itself, if it can. */
  readonly path?: string;
  /** Reads exactly `length` bytes. Rejects with `FILE_CORRUPT` when they are not all there. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Frees what the source holds open. */
  close?(): Promise<void>;
}

/** A sink that receives bytes in order. */
export interface ByteSink {
  /** Takes the next bytes. */
  write(bytes: Uint8Array): Promise<void>;
}

/** A `ByteSource` over bytes in memory. */
export function memorySource(bytes: Uint8Array, name = "bytes"): ByteSource {
  return {
    name,
    byteLength: bytes.byteLength,
    read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > bytes.byteLength) {
        return Promise.reject(
          new ToklipError(
            "FILE_CORRUPT",
            `${name}: bytes ${offset} to ${offset + length} lie outside its ${bytes.byteLength}`,
          ),
        );
      }
      return Promise.resolve(bytes.subarray(offset, offset + length));
    },
  };
}
