import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ToklipError } from "../../src/core/index.ts";
import { fakeModel, idsOf, markOf } from "../pipelines/fake-model.ts";
import { enterFolder, make, toklip } from "./harness.ts";

let leave: () => Promise<void>;
beforeEach(async () => {
  leave = await enterFolder();
});
afterEach(() => leave());

const M = ["--model", "m.pt"];
const L = ["--labels", "cat,dog,eel", "--templates", "none"];

describe("toklip show", () => {
  it("writes one page with each picture's ids, labels and reconstruction", async () => {
    await make("p/cat.png", "p/dog.jpg");
    const { status, stdout, stderr } = await toklip(["show", "p", ...M, ...L, "--top", "2", "--out", "page.html"]);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "p/cat.png  equal  92.6 % cat
      p/dog.jpg  equal  78.0 % eel
      "
    `);
    expect(stderr).toMatchInlineSnapshot(`
      "toklip: 2 pictures shown (0 s)
      toklip: the page is page.html
      "
    `);
    const page = await readFile("page.html", "utf8");
    expect(page).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
    expect(page.match(/<article/g)).toHaveLength(2);
    for (const id of idsOf("cat.png")) expect(page).toContain(`<td>${id}</td>`);
    const pictures = [...page.matchAll(/base64,([^"]*)"/g)].map(([, text]) => [...Buffer.from(text!, "base64")]);
    expect(pictures).toEqual(["cat.png", "cat.png", "dog.jpg", "dog.jpg"].map((name) => [64, 64, markOf(name)]));
    expect(page.match(/<li>/g)).toHaveLength(4);
    expect(await readdir(".")).toEqual(["p", "page.html"]);
  });

  it("shows pictures that cannot be read as such, and counts them", async () => {
    await make("p/a.png", "p/bad.png");
    const { status, stderr } = await toklip(["show", "p", ...M, ...L, "--out", "page.html"]);
    expect(status).toBe(0);
    expect(stderr).toContain("1 picture shown, 1 skipped");
    const page = await readFile("page.html", "utf8");
    expect(page).toContain("p/bad.png: not a picture [IMAGE_UNREADABLE]");
    expect(page).toContain("<p>1 picture; 1 could not be read.</p>");
  });

  it("fails when no picture can be read, and with --strict at the first, leaving no page", async () => {
    await make("p/bad.png", "q/a.png", "q/bad.png");
    expect((await toklip(["show", "p", ...M, ...L])).status).toBe(1);
    const { status, stderr } = await toklip(["show", "q", ...M, ...L, "--strict", "--out", "strict.html"]);
    expect([status, existsSync("strict.html")]).toEqual([1, false]);
    expect(stderr).toContain("[IMAGE_UNREADABLE]");
    expect((await readdir(".")).sort()).toEqual(["p", "q", "toklip.html"]);
  });

  it("asks the default model for emoji, and does not label by another model without labels", async () => {
    await make("a.png");
    const own = await toklip(["show", "a.png", "--templates", "none", "--json"]);
    expect(own.loaded.map(({ source }) => source)).toEqual(["toklip-mini"]);
    expect(own.model.texts.length).toBeGreaterThan(1000);
    expect(JSON.parse(own.stdout).labels).toHaveLength(5);
    const other = await toklip(["show", "a.png", ...M, "--out", "other.html", "--json"]);
    expect(other.model.texts).toEqual([]);
    expect(JSON.parse(other.stdout)).toEqual({ file: "a.png", psnr: null, ssim: 1, labels: [] });
    expect(await readFile("other.html", "utf8")).toContain("none were given (--labels)");
  });

  it("makes the folder of the page", async () => {
    await make("a.png");
    expect((await toklip(["show", "a.png", ...M, "--out", "reports/new/page.html"])).status).toBe(0);
    expect(await readdir("reports/new")).toEqual(["page.html"]);
  });

  it("replaces a page only when it is told to", async () => {
    await make("a.png");
    await writeFile("toklip.html", "mine");
    const refused = await toklip(["show", "a.png", ...M]);
    expect([refused.status, refused.loaded]).toEqual([1, []]);
    expect(refused.stderr).toContain("toklip.html: exists already (--overwrite replaces it) [FILE_EXISTS]");
    expect(await readFile("toklip.html", "utf8")).toBe("mine");
    expect((await toklip(["show", "a.png", ...M, "--overwrite"])).status).toBe(0);
    expect(await readFile("toklip.html", "utf8")).toContain("<!doctype html>");
  });

  it("leaves no page when it is interrupted", async () => {
    await make(...Array.from({ length: 40 }, (_, i) => `p/${i + 10}.png`));
    const interrupt = new AbortController();
    const model = fakeModel({ runMs: 5 });
    const encodeIds = model.encodeIds.bind(model);
    model.encodeIds = (pixels) => {
      if (model.batches.length === 2) interrupt.abort();
      return encodeIds(pixels);
    };
    const { status } = await toklip(["show", "p", ...M, "--batch", "4"], { model, signal: interrupt.signal });
    expect(status).toBe(130);
    expect(await readdir(".")).toEqual(["p"]);
    expect(model.disposed).toBe(true);
  });

  it("says what is wrong with a model that cannot make ids", async () => {
    await make("a.png");
    const model = fakeModel();
    model.encodeIds = () => Promise.reject(new ToklipError("ARGUMENT_INVALID", "encodeIds: m has no VQ"));
    const { status, stderr } = await toklip(["show", "a.png", ...M], { model });
    expect([status, existsSync("toklip.html")]).toEqual([1, false]);
    expect(stderr).toContain("encodeIds: m has no VQ [ARGUMENT_INVALID]");
  });
});
