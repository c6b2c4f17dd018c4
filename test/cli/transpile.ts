/** Makes the sources runnable by plain Node, for tests that need a process of their own. Types are not checked. */
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
};

export interface Transpiled {
  /** Holds `src/**.js` and `test/**.js`. */
  readonly folder: string;
  remove(): Promise<void>;
}

/** Transpiles `src` and the given test files into a folder of their own, inside the repository's ignored `out/`. */
export async function transpile(testFiles: readonly string[]): Promise<Transpiled> {
  const folder = path.join(ROOT, "out", `cli-${process.pid}`);
  const sources = (await readdir(path.join(ROOT, "src"), { recursive: true })).map((name) => path.join("src", name));
  await mkdir(path.join(folder, "test"), { recursive: true });
  await symlink(path.join(ROOT, "test/goldens"), path.join(folder, "test/goldens"));
  await cp(path.join(ROOT, "package.json"), path.join(folder, "package.json"));
  for (const name of [...sources, ...testFiles]) await place(name, folder);
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

async function place(name: string, folder: string): Promise<void> {
  const [from, to] = [path.join(ROOT, name), path.join(folder, name)];
  await mkdir(path.dirname(to), { recursive: true });
  if (/\.(json|mjs)$/.test(name)) return cp(from, to);
  if (!name.endsWith(".ts")) return;
  const { outputText } = ts.transpileModule(await readFile(from, "utf8"), { compilerOptions: OPTIONS, fileName: from });
  await writeFile(to.replace(/\.ts$/, ".js"), outputText);
}
