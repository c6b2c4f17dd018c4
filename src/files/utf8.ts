/** Text in untrusted files: UTF-8 or nothing. */
import { ToklipError } from "../core/index.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Text of UTF-8 bytes.
 * @throws FILE_CORRUPT when they are not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new ToklipError("FILE_CORRUPT", `${where}: not UTF-8 text`, { cause });
  }
}
