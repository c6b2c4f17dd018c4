// What the README shows is run as it stands there.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

const root = new URL("..", import.meta.url).pathname;
const readme = readFileSync(`${root}README.md`, "utf8");
const { scripts } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as { scripts: Record<string, string> };

describe("the README", () => {
  test("has a snippet that runs", () => {
    const [, snippet] = /```ts\n([\s\S]*?)```/.exec(readme)!;
    const report = `console.log(JSON.stringify([pixels.shape, ids.shape, tokenFeatures.shape, imageFeatures.shape,
      again.imageFeatures.shape, picture.shape, scores.length, first.shape]));`;
    const code = `${snippet}\n${report}`;
    const out = execFileSync(process.execPath, ["--input-type=module", "-e", code], { cwd: root, encoding: "utf8" });
    const [batch, grid, tokens, pooled] = [
      [1, 3, 64, 64],
      [1, 4, 4],
      [1, 16, 64],
      [1, 64],
    ];
    expect(JSON.parse(out)).toEqual([batch, grid, tokens, pooled, pooled, batch, 2, [1, 4, 64]]);
  });

  test("has a first command that makes a page of ids, labels and reconstructions with the model of the package", () => {
    expect(readme).toContain("npm ci && npm run demo");
    // The tests are run on a build: only what comes after it.
    const commands = scripts.demo!.split(" && ").filter((command) => command !== "npm run build");
    for (const command of commands) execFileSync("sh", ["-c", command], { cwd: root, stdio: "pipe" });
    const page = readFileSync(`${root}demo-out/page.html`, "utf8");
    const pictures = ["examples/drawings", "test/pictures"].flatMap((folder) =>
      readdirSync(root + folder).filter((name) => /\.(jpg|png|svg)$/.test(name)),
    );
    expect(page.split("<article")).toHaveLength(pictures.length + 1);
    for (const name of pictures) expect(page).toContain(name);
  });

  test("names its test command, files and verbs as they are", () => {
    expect(readme).toContain("npm ci && npm test");
    for (const [, path] of readme.matchAll(/\[[^\]]*\]\(([^)]+)\)|`(?:src|bench|docs|test)\/[\w./-]+`/g)) {
      if (path && !path.startsWith("http")) expect(existsSync(root + path), path).toBe(true);
    }
    for (const [quoted] of readme.matchAll(/`(src|bench|docs|test)\/[\w./-]+`/g)) {
      expect(existsSync(root + quoted.slice(1, -1)), quoted).toBe(true);
    }
    const help = execFileSync(process.execPath, ["dist/cli/main.js", "--help"], { cwd: root, encoding: "utf8" });
    for (const verb of [
      "tokenize",
      "reconstruct",
      "show",
      "eval",
      "train",
      "embed",
      "classify",
      "info",
      "convert",
      "export",
      "init",
      "download",
    ]) {
      expect(readme).toContain(`\`${verb}`);
      expect(help).toContain(`  ${verb} `);
    }
  });
});
