// The house: a folder imports from itself, from core, and from the folders of its row, nothing else.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const SOURCE = new URL("../src", import.meta.url).pathname;

/** What each folder may import besides itself and core. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  graph: [],
  files: [],
  image: [],
  onnx: ["graph"],
  nn: ["graph"],
  text: ["files"],
  models: ["nn", "graph", "files"],
  losses: ["nn", "graph"],
  data: ["files", "image", "text"],
  runtime: ["onnx", "graph", "files"],
  train: ["models", "losses", "nn", "graph", "onnx", "runtime", "data", "files", "image", "text"],
  pipelines: ["models", "runtime", "image", "text", "files", "onnx", "graph"],
  evaluation: ["pipelines", "data", "models", "runtime", "image", "text", "files", "onnx", "graph"],
  node: ["evaluation", "pipelines", "train", "data", "models", "runtime", "image", "text", "files", "onnx", "graph"],
  cli: ["node", "evaluation", "pipelines", "train", "data", "models", "runtime", "image", "text", "files"],
};

/** Folders that know no platform. */
const PURE = [
  "core",
  "graph",
  "files",
  "image",
  "onnx",
  "nn",
  "text",
  "models",
  "losses",
  "data",
  "runtime",
  "train",
  "pipelines",
  "evaluation",
];

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((file) => /\.m?ts$|\.mjs$/.test(file));

function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCE, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
}

const folderOf = (file: string) => file.split("/")[0]!;

describe("imports go one way", () => {
  test.each(Object.keys(MAY_IMPORT))("%s", (folder) => {
    for (const file of files.filter((name) => folderOf(name) === folder)) {
      for (const target of importsOf(file).filter((name) => name.startsWith("."))) {
        const to = folderOf(relative(SOURCE, resolve(SOURCE, file, "..", target)));
        expect([folder, "core", ...MAY_IMPORT[folder]!], `${file} imports ${target}`).toContain(to);
      }
    }
  });

  test("every folder has its row", () => {
    expect(Object.keys(MAY_IMPORT).sort()).toEqual([...new Set(files.map(folderOf))].sort());
  });

  test("no file imports itself through others", () => {
    const edges = new Map(
      files.map((file) => {
        const text = readFileSync(join(SOURCE, file), "utf8");
        // Imports of types alone vanish when compiled.
        const values = [...text.matchAll(/^(?:import|export)\s+(?!type\s)[^;]*?from\s+"(\.[^"]+)"/gms)].map(
          (match) => match[1]!,
        );
        return [file, values.map((target) => relative(SOURCE, resolve(SOURCE, file, "..", target)))] as const;
      }),
    );
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, "an import cycle").not.toContain(file);
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
  });
});

test("platform-free folders import nothing of Node", () => {
  for (const file of files.filter((name) => PURE.includes(folderOf(name)))) {
    expect(
      importsOf(file).filter((name) => name.startsWith("node:")),
      file,
    ).toEqual([]);
  }
});
