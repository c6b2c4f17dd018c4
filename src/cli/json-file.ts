/** JSON files that flags name. */
import { readFile } from "node:fs/promises";
import { messageOf, ToklipError } from "../core/index.ts";

/** Reads one. @param flag names it in messages. @throws FILE_NOT_FOUND, CONFIG_INVALID */
export async function readJsonFile(path: string, flag: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (thrown) {
    throw new ToklipError("FILE_NOT_FOUND", `${flag} ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new ToklipError("CONFIG_INVALID", `${path}: not JSON: ${messageOf(thrown)}`, { cause: thrown });
  }
}
