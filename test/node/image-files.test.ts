import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { countImages, type FindImagesOptions, findImages, resolveImageInputs } from "../../src/node/image-files.ts";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), "toklip-files-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function make(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), "");
  }
}

async function find(args: string[], options: FindImagesOptions = {}): Promise<string[]> {
  const inputs = await resolveImageInputs(args.map((arg) => path.join(root, arg)));
  const found: string[] = [];
  for await (const file of findImages(inputs, options)) found.push(path.relative(root, file));
  return found;
}

describe("findImages", () => {
  it("walks a folder in the order of its path strings", async () => {
    await make("b.png", "a/z.jpg", "a.png", "a/b/c.png", "a-b.png", "B.png", "a/b.png");
    const found = await find(["."]);
    expect(found).toEqual(["B.png", "a-b.png", "a.png", "a/b.png", "a/b/c.png", "a/z.jpg", "b.png"]);
    expect(found).toEqual([...found].sort());
  });

  it("takes picture extensions in either case, and leaves out hidden and other files", async () => {
    await make("a.JPG", "b.jpeg", "c.WebP", "d.txt", "e", ".f.png", ".git/g.png", "h.png.txt", "i.tif");
    expect(await find(["."])).toEqual(["a.JPG", "b.jpeg", "c.WebP", "i.tif"]);
  });

  it("takes a file that is named whatever its extension", async () => {
    await make("picture.data");
    expect(await find(["picture.data"])).toEqual(["picture.data"]);
  });

  it("expands patterns, sorted, pictures only", async () => {
    await make("a/2.png", "a/1.png", "a/b/3.png", "a/4.txt");
    expect(await find(["a/*"])).toEqual(["a/1.png", "a/2.png"]);
    expect(await find(["a/**/*.png"])).toEqual(["a/1.png", "a/2.png", "a/b/3.png"]);
  });

  it("takes a name with special characters for itself when it is there", async () => {
    await make("a[1].png", "a1.png");
    expect(await find(["a[1].png"])).toEqual(["a[1].png"]);
  });

  it("gives no picture twice, however the arguments overlap", async () => {
    await make("p/a.png", "p/q/b.png", "c.png");
    const all = ["c.png", "p/a.png", "p/q/b.png"];
    for (const args of [
      [".", "p", "p/a.png", "p/**/*.png"],
      ["p/a.png", "p/q", "."],
      ["p/**/*.png", "p/a.png", ".", "."],
    ]) {
      expect((await find(args)).sort()).toEqual(all);
    }
  });

  it("follows links to folders once, and never loops", async () => {
    await make("p/a.png", "other/b.png");
    await symlink(path.join(root, "p"), path.join(root, "p/loop"));
    await symlink(path.join(root, "other"), path.join(root, "p/other"));
    await symlink(path.join(root, "nowhere"), path.join(root, "p/gone.png"));
    expect(await find(["p"])).toEqual(["p/a.png", "p/gone.png", "p/other/b.png"]);
  });

  it("does not enter the excluded folder, named or found", async () => {
    await make("p/a.png", "p/out/b.png", "p/out/c/d.png");
    const exclude = path.join(root, "p/out");
    expect(await find(["p"], { exclude })).toEqual(["p/a.png"]);
    expect(await find(["p/**/*.png"], { exclude })).toEqual(["p/a.png"]);
  });

  it("counts what it finds", async () => {
    await make("a.png", "b/c.png", "b/d.txt");
    expect(await countImages(await resolveImageInputs([root]))).toBe(2);
  });

  it("says NO_IMAGES for an empty folder, FILE_NOT_FOUND for a name that is not there", async () => {
    await mkdir(path.join(root, "empty"));
    await expect(find(["empty"])).rejects.toMatchObject({ code: "NO_IMAGES" });
    await expect(find(["empty/*.png"])).rejects.toMatchObject({ code: "NO_IMAGES" });
    await expect(find(["missing.png"])).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });

  it("tells of a folder that cannot be read, and goes on", async () => {
    await make("a.png", "b/1.png", "c.png");
    const told: unknown[] = [];
    const inputs = await resolveImageInputs([root]);
    const files = findImages(inputs, { onUnreadable: (folder, { code }) => told.push([path.basename(folder), code]) });
    const first = await files.next();
    await rm(path.join(root, "b"), { recursive: true }); // listed by now, and not yet entered
    const rest = [];
    for await (const file of files) rest.push(path.relative(root, file));
    expect(path.basename(first.value ?? "")).toBe("a.png");
    expect([rest, told]).toEqual([["c.png"], [["b", "FILE_NOT_FOUND"]]]);
  });

  it("throws for a folder that cannot be read where nobody takes it", async () => {
    await make("a.png", "b/1.png");
    const files = findImages(await resolveImageInputs([root]));
    await files.next();
    await rm(path.join(root, "b"), { recursive: true });
    await expect(files.next()).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});
