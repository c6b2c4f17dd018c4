// Every source of pictures: where it lies, its licence, and how its files become things with a name. One row a source.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { getIconData, iconToHTML, iconToSVG } from "@iconify/utils";
import { captionsOf } from "./captions.mjs";
import { conceptKey, withoutStyle } from "./concept.mjs";
import { EmojiIndex, packageJson, plainCode } from "./emoji.mjs";
import { filesBelow } from "./files.mjs";

/**
 * @typedef {object} Thing A picture and what is known of it.
 * @property {string} source
 * @property {string} id Unique within its source.
 * @property {string} name
 * @property {string} concept
 * @property {string} group Which part of the mix it belongs to.
 * @property {string[]} captions
 * @property {string} [hexcode] Of an emoji.
 * @property {string[]} [categories]
 * @property {() => Buffer} bytes An SVG, PNG or WebP.
 *
 * @typedef {object} Source
 * @property {string} name
 * @property {string} licence An SPDX name.
 * @property {string} from The package, for attribution.
 * @property {string} by Whom to name.
 * @property {boolean} train Whether it may be trained on.
 * @property {boolean} [outlined] Whether it is drawn a second time, with lines around its shapes.
 * @property {(context: Context) => Iterable<Omit<Thing, "source">>} things
 *
 * @typedef {{ emoji: EmojiIndex, debian: string }} Context `debian`: the folder where Debian's packages are unpacked.
 */

/** Names of firms, products and characters: trademarks are not trained on. */
const BRANDS = new RegExp(
  `\\b(?:${[
    "adidas|adobe|airbnb|alipay|amazon|amd|android|angry ?birds?|audi|baidu|batman|behance|benz|bing|bluetooth|bmw|bytedance",
    "chrome|coca ?cola|dead ?pool|darth ?vader|debian|discord|disney|docker|douyin|dribbble|drop ?box|ebay|epic ?games?|facebook",
    "ferrari|figma|firefox|git ?hub|git ?lab|gmail|gnome|google|go ?pro|hello kitty|huawei|ibm|illustrator|imdb|instagram|intel",
    "ipad|iphone|ipod|imac|kde|lego|linked ?in|linux|mac ?book|mario|master ?card|mc ?donalds?|mercedes|messenger ?fb|microsoft|minecraft",
    "mozilla|netflix|nike|nintendo|nvidia|open ?office|oracle|pac ?man|pay ?pal|pepsi|photoshop|pikachu|pinterest|playstation|poke ?ball|pokemon",
    "red ?hat|reddit|rubik|safari|samsung|simpsons?|sims|skype|slack|snapchat|sony|spiderman|spotify|star ?wars|starbucks|superman|suse",
    "telegram|tencent|tesla|tik ?tok|tumblr|tux|twitch|twitter|uber|ubuntu|vimeo|visa|we ?chat|weibo|whats ?app|wikipedia|wordpress|xbox|xiaomi|yahoo|youtube",
  ].join("|")})\\b`,
  "i",
);
const SKIN_TONE = /skin-tone|(^|-)(1f3f[b-f])(-|$)/;
const SHAPE_ONLY = /^(?:[a-z]|\d+)$/;

/** An SVG of an icon set. @param {any} set @param {string} name */
function iconSvg(set, name) {
  const data = getIconData(set, name);
  if (!data) throw new Error(`icon ${set.prefix}:${name} is not there`);
  const { body, attributes } = iconToSVG(data, { width: String(data.width ?? 16), height: String(data.height ?? 16) });
  return Buffer.from(iconToHTML(body, attributes).replaceAll("currentColor", "#1f2937"));
}

/** @param {import("./emoji.mjs").Emoji} entry */
function emojiWords({ label, tags, keywords, group, subgroup }) {
  const more = keywords.filter((word) => !tags.includes(word) && word !== label && !word.includes(" ")).slice(0, 4);
  return {
    name: label,
    concept: conceptKey(label.replace(/^flag: /, "flag ")),
    categories: [group, subgroup],
    captions: captionsOf({
      name: label.replace(/^flag: /, "flag of "),
      tags: [...tags, ...more],
      categories: [group, subgroup],
    }),
  };
}

/** Emoji of an icon set, by code point where it tells them, else by name. @param {string} prefix @returns {Source["things"]} */
const emojiSet = (prefix) =>
  function* ({ emoji }) {
    const set = packageJson(`@iconify-json/${prefix}/icons.json`);
    const chars = /** @type {Record<string, string>} */ (packageJson(`@iconify-json/${prefix}/chars.json`));
    const named = Object.keys(set.icons).map(
      (name) => /** @type {const} */ ([name, emoji.named(name) ?? emoji.named(name.replace(/-\d+$/, ""))]),
    );
    const coded = Object.entries(chars).map(
      ([code, name]) => /** @type {const} */ ([name, emoji.byCode.get(plainCode(code))]),
    );
    const seen = new Set();
    for (const [name, entry] of [...coded, ...named]) {
      if (!entry || seen.has(entry.hexcode) || SKIN_TONE.test(name)) continue;
      seen.add(entry.hexcode);
      yield { id: name, group: "emoji", hexcode: entry.hexcode, ...emojiWords(entry), bytes: () => iconSvg(set, name) };
    }
  };

/** @type {Source["things"]} */
function* fluent3d({ emoji }) {
  const folder = join(
    dirname(new URL(import.meta.resolve("@lobehub/fluent-emoji-3d/package.json")).pathname),
    "assets",
  );
  for (const file of readdirSync(folder).sort()) {
    const code = plainCode(basename(file, ".webp"));
    const entry = emoji.byCode.get(code);
    if (!entry) continue;
    yield {
      id: code,
      group: "emoji",
      hexcode: code,
      ...emojiWords(entry),
      bytes: () => readFileSync(join(folder, file)),
    };
  }
}

/** What a name of an icon says: "car-taxi-1" -> "car taxi". @param {string} name @param {RegExp} [drop] */
function iconName(name, drop) {
  const words = name
    .replace(drop ?? /$^/, "")
    .split("-")
    .filter((word) => !/^\d+$/.test(word))
    .join(" ");
  return withoutStyle(words).trim();
}

/**
 * Colour icons. @param {string} prefix @param {{ drop?: RegExp, own?: boolean }} [options]
 * @returns {Source["things"]}
 */
const iconSet = (prefix, { drop, own = false } = {}) =>
  function* () {
    const set = packageJson(own ? `@iconify-json/${prefix}/icons.json` : `@iconify/json/json/${prefix}.json`);
    const categories = own ? metadataCategories(prefix) : set.categories;
    const categoryOf = new Map(
      Object.entries(categories ?? {}).flatMap(([category, names]) =>
        /** @type {string[]} */ (names).map((name) => [name, category]),
      ),
    );
    const seen = new Set();
    for (const name of Object.keys(set.icons).sort()) {
      const words = iconName(name, drop);
      if (words === "" || SHAPE_ONLY.test(words)) continue;
      // Some sets draw one picture in several sizes.
      const drawing = name.replace(drop ?? /$^/, "");
      if (seen.has(drawing)) continue;
      seen.add(drawing);
      const category = categoryOf.get(name);
      const list = category === undefined ? [] : [String(category)];
      yield {
        id: name,
        group: "icon",
        name: words,
        concept: conceptKey(words),
        categories: list,
        captions: captionsOf({ name: words, tags: [], categories: list }),
        bytes: () => iconSvg(set, name),
      };
    }
  };

/** @param {string} prefix */
function metadataCategories(prefix) {
  try {
    return packageJson(`@iconify-json/${prefix}/metadata.json`).categories;
  } catch {
    return undefined;
  }
}

/** Flags, by country code. @param {string} prefix @param {RegExp} code @returns {Source["things"]} */
const flagSet = (prefix, code) =>
  function* ({ emoji }) {
    const set = packageJson(`@iconify-json/${prefix}/icons.json`);
    const country = new Intl.DisplayNames(["en"], { type: "region" });
    for (const name of Object.keys(set.icons).sort()) {
      const two = code.exec(name)?.[1]?.toUpperCase();
      const label = two && country.of(two);
      if (!two || !label || label === two) continue;
      const hexcode = [...two].map((letter) => (0x1f1e6 + letter.charCodeAt(0) - 65).toString(16)).join("-");
      const words = emoji.byCode.get(hexcode)?.label.replace(/^flag: /, "") ?? label;
      yield {
        id: name,
        group: "flag",
        name: `flag of ${words}`,
        concept: conceptKey(`flag ${words}`),
        hexcode,
        categories: ["flags"],
        captions: captionsOf({
          name: `flag of ${words}`,
          tags: [words.toLowerCase(), "country"],
          categories: ["flags"],
        }),
        bytes: () => iconSvg(set, name),
      };
    }
  };

const decodeXml = (/** @type {string} */ text) =>
  text
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&apos;|&#39;/g, "'")
    .replace(/&amp;/g, "&");
const NOT_ART =
  /(?:^|\/)(?:buttons|special\/(?:themes|patterns)|unsorted\/stars|shapes\/stars|signs_and_symbols\/(?:themes|ui))|star_|_button|window/i;
const NO_NAME = /^(?:untitled|unnamed|drawing|clip ?art|svg|image|picture|new|test|\W|\d|[a-z]{1,2}$)|http|\.svg/i;

/** @type {Source["things"]} */
function* openclipart({ debian }) {
  const root = join(debian, "openclipart-svg/usr/share/openclipart/svg");
  for (const file of filesBelow(root).filter((name) => name.endsWith(".svg"))) {
    const id = relative(root, file).replace(/\.svg$/, "");
    if (NOT_ART.test(id)) continue;
    const text = readFileSync(file, "utf8");
    if (text.length > 2_000_000) continue;
    const title = decodeXml(/<dc:title>([^<]{2,60})<\/dc:title>/.exec(text)?.[1] ?? "");
    const name = (title === "" || NO_NAME.test(title) ? basename(id).replaceAll("_", " ") : title)
      .replace(/[_-]+/g, " ")
      .replace(
        /\b(?:\d+|archite\w*|ganson|rg|arc|francesco|rollandin?|nicu|buculei|bw|clip ?art|jonathan|dietrich|lumen|machovka|juliane|krug|svg|architetto)\b/gi,
        " ",
      )
      .replace(/\s+[a-z]\s*$/i, "")
      .replace(/\s+/g, " ")
      .trim();
    if (name.length < 3 || name.length > 48 || NO_NAME.test(name) || !/[a-z]{3}/i.test(name)) continue;
    const tags = [...text.matchAll(/<rdf:li>([^<]{2,24})<\/rdf:li>/g)]
      .map((match) => decodeXml(match[1] ?? ""))
      .slice(0, 6);
    const description =
      decodeXml(/<dc:description>([^<]*)<\/dc:description>/.exec(text)?.[1] ?? "").split(/[\n.]/)[0] ?? "";
    const categories = dirname(id)
      .split("/")
      .filter((part) => part !== "unsorted" && part !== ".")
      .slice(-1);
    yield {
      id,
      group: "clip art",
      name: name.toLowerCase(),
      concept: conceptKey(name),
      categories,
      captions: captionsOf({
        name,
        tags: tags.filter((tag) => tag !== "unsorted"),
        categories,
        description,
      }),
      bytes: () => readFileSync(file),
    };
  }
}

/** Furniture: unpacked .sh3f catalogues. @param {readonly string[]} catalogues @returns {Source["things"]} */
const furniture = (catalogues) =>
  function* ({ debian }) {
    for (const catalogue of catalogues) {
      const root = join(debian, "furniture", catalogue);
      if (!existsSync(root)) continue;
      const properties = new Map(
        readFileSync(join(root, "PluginFurnitureCatalog.properties"), "latin1")
          .split("\n")
          .map((line) => /^(\w+)#(\d+)=(.*)$/.exec(line.trim()))
          .filter((match) => match !== null)
          .map((match) => [`${match[1]}#${match[2]}`, match[3] ?? ""]),
      );
      for (const [key, icon] of properties) {
        const number = /^icon#(\d+)$/.exec(key)?.[1];
        const name = number && properties.get(`name#${number}`);
        if (!name || !existsSync(join(root, icon))) continue;
        const words = name.toLowerCase().replace(/\s*\d+$/, "");
        const tags = (properties.get(`tags#${number}`) ?? "")
          .split(",")
          .map((tag) => tag.trim())
          .filter(Boolean);
        const categories = [properties.get(`category#${number}`) ?? ""].filter(Boolean);
        yield {
          id: `${catalogue}/${number}`,
          group: "3d",
          name: words,
          concept: conceptKey(words),
          categories,
          captions: captionsOf({ name: words, tags, categories }),
          bytes: () => readFileSync(join(root, icon)),
        };
      }
    }
  };

const streamline = (/** @type {string} */ set, /** @type {RegExp | undefined} */ drop = undefined) => ({
  name: set,
  licence: "CC-BY-4.0",
  from: "@iconify/json",
  by: "Streamline (Webalys)",
  train: true,
  things: iconSet(set, drop && { drop }),
});

/** @type {readonly Source[]} */
export const SOURCES = [
  {
    name: "noto",
    licence: "Apache-2.0",
    from: "@iconify-json/noto",
    by: "Google",
    train: true,
    outlined: true,
    things: emojiSet("noto"),
  },
  {
    name: "noto-v1",
    licence: "Apache-2.0",
    from: "@iconify-json/noto-v1",
    by: "Google",
    train: true,
    outlined: true,
    things: emojiSet("noto-v1"),
  },
  {
    name: "twemoji",
    licence: "CC-BY-4.0",
    from: "@iconify-json/twemoji",
    by: "Twitter",
    train: true,
    outlined: true,
    things: emojiSet("twemoji"),
  },
  {
    name: "fluent-flat",
    licence: "MIT",
    from: "@iconify-json/fluent-emoji-flat",
    by: "Microsoft",
    train: true,
    outlined: true,
    things: emojiSet("fluent-emoji-flat"),
  },
  {
    name: "fluent-3d",
    licence: "MIT",
    from: "@lobehub/fluent-emoji-3d",
    by: "Microsoft",
    train: true,
    things: fluent3d,
  },
  {
    name: "emojione",
    licence: "CC-BY-4.0",
    from: "@iconify-json/emojione",
    by: "Emoji One",
    train: true,
    outlined: true,
    things: emojiSet("emojione"),
  },
  {
    name: "fxemoji",
    licence: "Apache-2.0",
    from: "@iconify-json/fxemoji",
    by: "Mozilla",
    train: true,
    outlined: true,
    things: emojiSet("fxemoji"),
  },
  {
    name: "streamline-emojis",
    licence: "CC-BY-4.0",
    from: "@iconify-json/streamline-emojis",
    by: "Streamline (Webalys)",
    train: true,
    things: emojiSet("streamline-emojis"),
  },
  {
    name: "openmoji",
    licence: "CC-BY-SA-4.0",
    from: "@iconify-json/openmoji",
    by: "OpenMoji",
    train: false,
    things: emojiSet("openmoji"),
  },
  {
    name: "icon-park",
    licence: "Apache-2.0",
    from: "@iconify-json/icon-park",
    by: "ByteDance",
    train: true,
    things: iconSet("icon-park", { own: true }),
  },
  streamline("streamline-color", /-flat$/),
  ...["plump", "freehand", "flex", "sharp", "ultimate", "cyber", "stickies"].map((style) =>
    streamline(`streamline-${style}-color`),
  ),
  streamline("streamline-kameleon-color", /-duo$/),
  {
    name: "flat-color-icons",
    licence: "MIT",
    from: "@iconify-json/flat-color-icons",
    by: "Icons8",
    train: true,
    things: iconSet("flat-color-icons"),
  },
  { name: "marketeq", licence: "MIT", from: "@iconify/json", by: "Marketeq", train: true, things: iconSet("marketeq") },
  {
    name: "glyphs-poly",
    licence: "MIT",
    from: "@iconify/json",
    by: "Goran Babarogic",
    train: true,
    things: iconSet("glyphs-poly"),
  },
  { name: "flat-ui", licence: "MIT", from: "@iconify/json", by: "Designmodo", train: true, things: iconSet("flat-ui") },
  {
    name: "fluent-color",
    licence: "MIT",
    from: "@iconify-json/fluent-color",
    by: "Microsoft",
    train: true,
    things: iconSet("fluent-color", { drop: /-\d+$/ }),
  },
  {
    name: "meteocons",
    licence: "MIT",
    from: "@iconify-json/meteocons",
    by: "Bas Milius",
    train: true,
    things: iconSet("meteocons", { drop: /-fill$/ }),
  },
  {
    name: "circle-flags",
    licence: "MIT",
    from: "@iconify-json/circle-flags",
    by: "HatScripts",
    train: true,
    things: flagSet("circle-flags", /^([a-z]{2})$/),
  },
  {
    name: "flag",
    licence: "MIT",
    from: "@iconify-json/flag",
    by: "Panayiotis Lipiridis",
    train: true,
    things: flagSet("flag", /^([a-z]{2})-4x3$/),
  },
  {
    name: "flagpack",
    licence: "MIT",
    from: "@iconify-json/flagpack",
    by: "Yummygum",
    train: true,
    things: flagSet("flagpack", /^([a-z]{2})$/),
  },
  {
    name: "cif",
    licence: "CC0-1.0",
    from: "@iconify-json/cif",
    by: "CoreUI",
    train: true,
    things: flagSet("cif", /^([a-z]{2})$/),
  },
  {
    name: "openclipart",
    licence: "LicenseRef-Public-Domain",
    from: "Debian openclipart-svg",
    by: "the contributors of openclipart.org",
    train: true,
    things: openclipart,
  },
  {
    name: "furniture-cc0",
    licence: "CC0-1.0",
    from: "Debian sweethome3d-furniture",
    by: "Emmanuel Puybaret and the BlendSwap contributors",
    train: true,
    things: furniture(["BlendSwap-CC-0"]),
  },
  {
    name: "furniture-cc-by",
    licence: "CC-BY-3.0",
    from: "Debian sweethome3d-furniture",
    by: "Scopia, Andrew Kator and Jennifer Legaz, Reallusion, the BlendSwap contributors",
    train: true,
    things: furniture(["BlendSwap-CC-BY", "KatorLegaz", "Reallusion", "Scopia"]),
  },
];

/** All things of a source but trademarks. @param {Source} source @param {Context} context @returns {Generator<Thing>} */
export function* thingsOf(source, context) {
  for (const thing of source.things(context)) {
    if (!BRANDS.test(`${thing.name} ${thing.id.replace(/[_/-]/g, " ")}`)) yield { source: source.name, ...thing };
  }
}
