/** What the operating system says of files, as this project's errors. */
import { type ErrorCode, messageOf, ToklipError } from "../core/index.ts";

const NOT_FOUND = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "ERR_INVALID_ARG_VALUE"]);

/** A failure to read. `ToklipError`s pass as they are. */
export function readError(thrown: unknown, path: string): ToklipError {
  const code = NOT_FOUND.has(systemCode(thrown)) ? "FILE_NOT_FOUND" : "FILE_READ_FAILED";
  return fileError(code, thrown, path, code === "FILE_NOT_FOUND" ? "does not exist" : "could not be read");
}

/** A failure to write. `ToklipError`s pass as they are. */
export function writeError(thrown: unknown, path: string): ToklipError {
  return fileError("FILE_WRITE_FAILED", thrown, path, "could not be written");
}

function fileError(code: ErrorCode, thrown: unknown, path: string, problem: string): ToklipError {
  if (thrown instanceof ToklipError) return thrown;
  const name = path.replace(/[\u0000-\u001f]/g, "?");
  return new ToklipError(code, `${name}: ${problem} (${systemCode(thrown) || messageOf(thrown)})`, { cause: thrown });
}

function systemCode(thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  return typeof code === "string" ? code : "";
}
