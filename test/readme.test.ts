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

  test("has a first command that makes ids, pictures and labels of real photographs", () => {
    expect(readme).toContain("npm ci && npm run demo");
    // The tests are run on a build: only what comes after it.
    const commands = scripts.demo!.split(" && ").filter((command) => command !== "npm run build");
    const printed = commands.map((command) =>
      execFileSync("sh", ["-c", command], { cwd: root, encoding: "utf8", stdio: "pipe" }),
    );
    const pictures = readdirSync(`${root}test/pictures`).filter((name) => /\.(jpg|png)$/.test(name));
    for (const name of pictures)
      expect(existsSync(`${root}demo-out/${name.replace(/\.\w+$/, ".png")}`), name).toBe(true);
    const lines = readFileSync(`${root}demo-out/ids.jsonl`, "utf8").trim().split("\n");
    expect(lines).toHaveLength(pictures.length);
    expect(JSON.parse(lines[0]!).ids).toHaveLength(16);
    expect(printed.at(-1)).toContain("chelsea.jpg");
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
