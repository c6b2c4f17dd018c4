/** Files that come with the package, wherever it is installed. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ToklipError } from "../core/index.ts";
import { BUNDLED_FILES } from "../pipelines/bundled-files.ts";

/** The package's folder, two above this file in the sources as in the build. */
const PACKAGE = new URL("../../", import.meta.url);

/**
 * The path of the file that a name in `BUNDLED_FILES` stands for; undefined for another name.
 * @throws FILE_NOT_FOUND where this copy of the package lacks it
 */
export function bundledFile(name: string, root: URL = PACKAGE): string | undefined {
  if (!Object.hasOwn(BUNDLED_FILES, name)) return undefined;
  const path = fileURLToPath(new URL(BUNDLED_FILES[name]!, root));
  if (existsSync(path)) return path;
  throw new ToklipError("FILE_NOT_FOUND", `${name}: this copy of the package lacks ${path}`);
}
