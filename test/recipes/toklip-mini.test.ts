import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checkSplits,
  openmojiSets,
  picturePath,
  retrievalCaptions,
  retrievalPairs,
  unseenConceptSets,
  unseenNamingSets,
} from "../../recipes/toklip-mini/benchmark-sets.mjs";
import { captionsOf, categoryWords } from "../../recipes/toklip-mini/captions.mjs";
import { conceptKey, splitOf } from "../../recipes/toklip-mini/concept.mjs";
import { plainCode, slug } from "../../recipes/toklip-mini/emoji.mjs";
import { argumentsOf, EVALUATIONS, markdownTable } from "../../recipes/toklip-mini/evaluations.mjs";
import { csv } from "../../recipes/toklip-mini/files.mjs";
import { captionName } from "../../recipes/toklip-mini/photographs.mjs";

type Picture = import("../../recipes/toklip-mini/benchmark-sets.mjs").Picture;

const picture = (part: string, source: string, name: string, more: Partial<Picture> = {}): Picture => ({
  licence: "MIT",
  ...{ part, source, id: name.replaceAll(" ", "-"), name, concept: conceptKey(name), captions: [name], group: "emoji" },
  categories: ["animals-nature", "animal-mammal"],
  ...more,
});

describe("conceptKey", () => {
  it.each([
    ["The Red Apples", "red apple"],
    ["fox face", "fox"],
    ["a fox", "fox"],
    ["stop sign", "stop"],
    ["Café", "cafe"],
    ["men’s room", "mens room"],
    ["arrow_left-up", "arrow left up"],
    ["glasses", "glasses"],
    ["bus", "bus"],
    ["chess", "chess"],
    ["gas", "gas"],
    ["cherries", "cherries"],
    ["dogs", "dog"],
    ["日本", "日本"],
  ])("makes of %j the key %j", (name, key) => {
    expect(conceptKey(name)).toBe(key);
  });

  it("gives one key for a name with and without an article, in any case", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[b-z]{4,12}$/), (word) => {
        expect(conceptKey(`The ${word.toUpperCase()}`)).toBe(conceptKey(word));
      }),
    );
  });
});

describe("splitOf", () => {
  it("always puts a concept into the same split", () => {
    expect(["fox", "red apple", "dog", "banana", "rabbit"].map(splitOf)).toEqual([
      ...["train", "train", "test-concept", "test-concept", "val"],
    ]);
  });

  it("holds out 8 % for tests and 4 % for validation", () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => splitOf(`concept ${i}`));
    const share = (split: string) => keys.filter((own) => own === split).length / keys.length;
    expect(share("test-concept")).toBeCloseTo(0.08, 2);
    expect(share("val")).toBeCloseTo(0.04, 2);
  });
});

describe("captionsOf", () => {
  const fox = { name: "Fox", tags: ["animal", "Fox", "sly"], categories: ["animal-mammal"] };

  it("names the thing alone, in sentences, with tags, and by its category", () => {
    expect(captionsOf(fox)).toEqual([
      ...["fox", "a picture of fox", "a drawing of fox", "fox, animal, sly", "animal, sly"],
      ...["animal mammal: fox", "animal mammal, animal"],
    ]);
  });

  it("says nothing twice and nothing empty", () => {
    const word = fc.string({ maxLength: 6 });
    const things = fc.record({ name: word, tags: fc.array(word), categories: fc.array(word) });
    fc.assert(
      fc.property(things, (thing) => {
        const captions: string[] = captionsOf(thing);
        expect(new Set(captions).size).toBe(captions.length);
        expect(captions).not.toContain("");
        expect(captionsOf(thing)).toEqual(captions);
      }),
    );
  });

  it("takes the words of a category out of whatever joins them", () => {
    expect(["animal-mammal", "AnimalMammal", "food & drink"].map(categoryWords)).toEqual([
      ...["animal mammal", "animal mammal", "food drink"],
    ]);
  });
});

describe("names of emoji", () => {
  it("writes code points one way", () => {
    expect(["1F441-FE0F-200D-1F5E8-FE0F", "0023-fe0f-20e3", "1f98a"].map(plainCode)).toEqual([
      ...["1f441-200d-1f5e8", "23-20e3", "1f98a"],
    ]);
  });

  it("writes names as icon sets do", () => {
    expect(["Mrs. Claus", "piñata", "kiss: man, man", "A & B"].map(slug)).toEqual([
      ...["mrs-claus", "pinata", "kiss-man-man", "a-and-b"],
    ]);
  });
});

describe("captions of stamps", () => {
  it.each([
    ["A frog.", "frog"],
    ["An albino peahen (a female peafowl, or peacock).", "albino peahen"],
    ["Tux—the Linux mascot!", "tux"],
    ["A “Granny Smith” apple.", "granny smith apple"],
    ["", ""],
  ])("finds in %j the name %j", (caption, name) => {
    expect(captionName(caption)).toBe(name);
  });
});

describe("checkSplits", () => {
  const fox = picture("train-emoji", "noto", "fox", { hexcode: "1f98a" });

  it("accepts splits that share no concept", () => {
    expect(() => checkSplits([fox, picture("test-concept", "noto", "dog")])).not.toThrow();
  });

  it("accepts a picture of a seen concept in a source that is never trained on", () => {
    expect(() => checkSplits([fox, picture("openmoji", "openmoji", "fox")])).not.toThrow();
  });

  it.each([
    ["a concept that is also trained on", picture("test-concept", "twemoji", "fox"), /fox is trained on/],
    ["one in the validation split", picture("val", "twemoji", "fox"), /fox is trained on/],
    ["an emoji under another name", picture("val", "twemoji", "vixen", { hexcode: "1f98a" }), /1f98a is trained on/],
    ["a picture of OpenMoji in training", picture("train-emoji", "openmoji", "cat"), /openmoji:cat is trained on/],
  ])("refuses %s", (_, leaked, message) => {
    expect(() => checkSplits([fox, leaked])).toThrow(message);
  });
});

describe("sets of benchmarks", () => {
  const manifest = [
    picture("train-emoji", "noto", "fox", { captions: ["fox", "a red fox"] }),
    picture("train-emoji", "twemoji", "fox", { captions: ["fox", "a red animal"] }),
    picture("openmoji", "openmoji", "fox"),
    picture("openmoji", "openmoji", "dog"),
    picture("openmoji", "openmoji", "flag: Chad", { concept: "fox", categories: ["flags", "country-flag"] }),
    picture("test-concept", "noto", "red animal"),
    picture("test-concept", "twemoji", "red foxes", { concept: "red animal" }),
    picture("test-concept", "noto", "red fox", { categories: ["animals-nature", "animal-bird"] }),
    picture("test-concept", "noto", "purple fox"),
  ];

  it("takes OpenMoji's pictures of seen concepts only, and country flags apart", () => {
    const [seen, , , flags] = openmojiSets(manifest);
    expect(seen?.rows.map(({ label }) => label)).toEqual(["fox"]);
    expect(flags?.labels).toEqual({ "flag: Chad": ["flag of chad"] });
  });

  it("keeps the unseen categories that hold two concepts or more", () => {
    const [groups, subgroups] = unseenConceptSets(manifest);
    expect(groups?.labels).toEqual({ "animals-nature": ["animals nature"] });
    expect(subgroups?.labels).toEqual({ "animal-mammal": ["animal mammal"] });
    expect(subgroups?.rows).toHaveLength(3);
  });

  it("asks for unseen names only where two trained pictures said each word", () => {
    const [all] = unseenNamingSets(manifest);
    // "animal" was said of one picture, "purple" and "foxes" of none.
    expect(all?.labels).toEqual({ "red fox": ["red fox"] });
  });

  it("names every picture's file once", () => {
    const ids = ["a/b", "a-b", "a b", "A-B"].map((id) => picturePath(picture("test-concept", "x", "fox", { id })));
    expect(new Set(ids).size).toBe(4);
    expect(picturePath(picture("openmoji", "openmoji", "red fox"))).toBe("pictures/openmoji/red-fox.png");
  });
});

describe("captions for retrieval", () => {
  const fox = {
    ...{ hexcode: "1f98a", label: "Fox", group: "animals-nature", subgroup: "animal-mammal", order: 1 },
    ...{ tags: ["animal", "fox", "foxy", "sly", "tail"], keywords: ["sly", "wildlife", "canine", "fox den"] },
  };

  it("withholds the name from the last two", () => {
    expect(retrievalCaptions(fox)).toEqual([
      ...["fox", "a drawing of fox", "fox, animal, sly", "animal, sly, tail", "animal mammal: wildlife, canine, tail"],
    ]);
  });

  it("gives none where too little is known", () => {
    expect(retrievalCaptions({ ...fox, tags: ["fox"] })).toBeUndefined();
  });

  it("leaves out pictures that share a caption", () => {
    const bear = { ...fox, hexcode: "2", label: "bear", tags: ["huge", "strong", "den"], keywords: ["roar", "honey"] };
    const entries = [fox, { ...fox, hexcode: "1", label: "vixen", tags: ["animal", "sly", "tail"] }, bear];
    const emoji = new Map(entries.map((entry) => [entry.hexcode, entry]));
    const pictures = entries.map(({ label, hexcode }) => picture("openmoji", "openmoji", label, { hexcode }));
    const named = (own: readonly Picture[], most: number) =>
      retrievalPairs(own, emoji, most).map((pair) => pair.picture.name);
    expect(named(pictures, 9)).toEqual(["bear"]);
    expect(named(pictures.slice(1), 9)).toEqual(["vixen", "bear"]);
    expect(named(pictures.slice(1), 1)).toEqual(["vixen"]);
  });
});

describe("tables", () => {
  it("quotes what would break a row", () => {
    expect(
      csv(
        ["image", "label"],
        [
          ["a.png", 'kiss: man, "man"'],
          [" b", "c"],
        ],
      ),
    ).toBe('image,label\na.png,"kiss: man, ""man"""\n" b",c\n');
  });

  it("shows a column a model, and what a model lacks as nothing", () => {
    const metric = { name: "top1", value: 0.4213, unit: "share", count: 1434 };
    const results = [
      { run: "photo", model: "toklip", metrics: [metric, { ...metric, name: "classes" }] },
      { run: "photo", model: "teacher", error: "no such file" },
      { run: "clothes", model: "teacher", metrics: [{ ...metric, value: null }] },
    ];
    expect(markdownTable(results).split("\n")).toEqual([
      "| benchmark | figure | of | toklip | teacher |",
      "|---|---|---|---|---|",
      "| photo | top1 | 1434 | 42.1 % |  |",
      "| clothes | top1 | 1434 |  | - |",
      "",
    ]);
  });
});

describe("evaluations", () => {
  it("go by names of their own", () => {
    const names = EVALUATIONS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it("give a probe what it learns from first", () => {
    const probe = EVALUATIONS.find(({ task }) => task === "linear-probe")!;
    const where = { model: "m", benchmarks: "b", out: "o", features: "f", templates: "t" };
    const words = ["eval", "linear-probe", "b/probe-train.csv", "b/probe-test.csv"];
    expect(argumentsOf(probe, where).slice(0, 4)).toEqual(words);
  });

  it("score the parts of a benchmark from its own pictures", () => {
    const where = { model: "m", benchmarks: "b", out: "o", features: "f", templates: "t" };
    expect(argumentsOf(EVALUATIONS[0]!, where)).toEqual([
      ...["eval", "zeroshot", "b/openmoji-seen.csv", "--model", "m", "--labels-file", "b/labels/openmoji-seen.json"],
      ...["--templates", "t/naming.txt", "--subset", "b/labels/openmoji-animals.json"],
      ...["--subset", "b/labels/openmoji-food.json", "--out", "o", "--features", "f", "--resume", "--json"],
    ]);
  });
});
