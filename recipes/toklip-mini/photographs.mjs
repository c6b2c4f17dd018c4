// Photographs: Tux Paint's stamps, cut out (GPL-2: measured on, neither trained on nor passed on), and free ones for reconstruction.
import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { filesBelow } from "./files.mjs";

/** Stamps that were drawn, engraved or traced; those in SVG all are. Found by looking at every one. */
const DRAWN =
  /cartoon|_mirror|^symbols|^clothes\/(?!clothespin)|^people\/body_parts|^seasonal\/(?:easter|hanukkah|newyears)|^town\/(?:flags|roadsigns\/(?!traffic_cone|no_))/;
const DRAWN_TOO = new Set([
  ...["animals/insects/bee", "animals/insects/fly", "animals/mammals/echidna", "animals/mammals/hedgehog"],
  ...["food/pizza", "household/key", "medical/tooth", "military/final-roll-call", "naturalforces/lightningbolt"],
  ...["candy_cane", "lamp", "star", "tree", "Santa", "bow", "hard_candy", "santahat", "stocking", "xmas_tp_bulb"].map(
    (name) => `seasonal/christmas/${name}`,
  ),
  ...["bat_left", "blackcat", "ghost", "jackolantern_mean", "skull", "spider"].map(
    (name) => `seasonal/halloween/${name}`,
  ),
  ...["0_sun", "6_saturn", "7_uranus", "8_neptune"].map((name) => `space/planets/${name}`),
  ...["sports/rugby_goal_posts", "town/monuments/inukshuk-outline", "vehicles/emergency/sedan_police"],
]);

/** What a stamp shows where its caption says more, or less, than a name. */
const NAMES = /** @type {Record<string, string>} */ ({
  "animals/birds/adelaide-rosella": "parrot",
  "animals/birds/drake": "duck",
  "animals/birds/gander": "goose",
  "animals/birds/hen": "hen",
  "animals/birds/little-penguin": "penguin",
  "animals/birds/magellanic_penguin": "penguin",
  "animals/birds/pink_flamingo": "flamingo",
  "animals/birds/rainbow-lorikeet": "parrot",
  "animals/birds/rooster": "rooster",
  "animals/fish/lobster": "lobster",
  "animals/lizards/iguana": "lizard",
  "animals/mammals/bears/european-bear": "bear",
  "animals/mammals/bears/toys/edward_bear": "teddy bear",
  "animals/mammals/cats/tiger_sumatran": "tiger",
  "animals/mammals/deer/doe": "deer",
  "animals/mammals/pig_golden": "pig",
  "animals/mammals/pig_golden2": "pig",
  "animals/mammals/wildboar": "boar",
  "animals/marsupials/kangaroo": "kangaroo",
  "food/fruit/Cherry_Stella": "cherries",
  "food/fruit/apple_granny_smith": "green apple",
  "food/fruit/grapes": "grapes",
  "food/fruit/lemon": "lemon",
  "food/fruit/mandarine": "tangerine",
  "food/spices/ginger": "ginger root",
  "food/vegetables/broccoli": "broccoli",
  "food/vegetables/chilepepper": "hot pepper",
  "food/vegetables/garlic": "garlic",
  "food/vegetables/garlics": "garlic",
  "food/vegetables/potato": "potato",
  "food/vegetables/pumpkin_small": "pumpkin",
  "food/vegetables/tomato": "tomato",
  "hobbies/binoculars": "binoculars",
  "hobbies/music/percussion/drum_tomtom_floor": "drum",
  "household/Lightbulb": "light bulb",
  "household/arttools/scissors_small_closed": "scissors",
  "household/arttools/scissors_small_open": "scissors",
  "household/garbagecan": "wastebasket",
  "household/kettle": "kettle",
  "household/tools/paintbrush_large": "paintbrush",
  "household/tools/wrench_adjustable": "wrench",
  "medical/mercurythermometer": "thermometer",
  "medical/stethoscope": "stethoscope",
  "plants/flowers/flower10": "hibiscus",
  "plants/mushrooms/cep": "mushroom",
  "plants/mushrooms/cep-1": "mushroom",
  "plants/mushrooms/cep-2": "mushroom",
  "seasonal/candle": "candle",
  "seasonal/christmas/Candy_cane_photo_1": "candy cane",
  "seasonal/christmas/Candy_cane_photo_2": "candy cane",
  "seasonal/halloween/grave-a": "headstone",
  "seasonal/halloween/grave-d": "headstone",
  "seasonal/halloween/grave-h": "headstone",
  "seasonal/halloween/grave-j": "headstone",
  "space/planets/3_earth": "earth",
  "space/planets/4_mars": "mars",
  "space/spacewalk": "astronaut",
  "sports/trophy_cup": "trophy",
  "town/uk_post_box": "postbox",
  "vehicles/auto/beetle": "car",
  "vehicles/auto/sedan": "car",
  "vehicles/auto/sportscar2": "car",
  "vehicles/cycle/pink_tricycle": "tricycle",
  "vehicles/emergency/firetruck": "fire engine",
  "vehicles/masstransit/green_korean_bus": "bus",
  "vehicles/ship/walnutBoat": "sailboat",
});

/** Kinds of things that enough stamps show, by folder. */
export const STAMP_KINDS = [
  { kind: "mammal", folder: "animals/mammals/" },
  { kind: "bird", folder: "animals/birds/" },
  { kind: "fish", folder: "animals/fish/", not: /lobster|shrimp/ },
  { kind: "fruit", folder: "food/fruit/" },
  { kind: "vegetable", folder: "food/vegetables/" },
  { kind: "flower", folder: "plants/flowers/" },
  { kind: "tool", folder: "household/tools/" },
  { kind: "musical instrument", folder: "hobbies/music/" },
];

/** The name in a caption: "A frog." -> "frog", "A cow (in a field)!" -> "cow". @param {string} caption */
export function captionName(caption) {
  const [sentence = ""] = caption
    .replace(/["“”]/g, "")
    .replace(/\(.*?\)/g, " ")
    .split(/[.!?,—–]/);
  return sentence
    .trim()
    .toLowerCase()
    .replace(/^(?:a|an|the)\s+/, "")
    .replace(/\s+/g, " ");
}

/**
 * The stamps that are photographs.
 * @param {string} debian The folder where Debian's packages are unpacked.
 * @returns {{ id: string, name: string, kind: string | undefined, path: string }[]}
 */
export function stampPhotographs(debian) {
  const root = join(debian, "tuxpaint-stamps-default/usr/share/tuxpaint/stamps");
  return filesBelow(root)
    .filter((path) => path.endsWith(".png"))
    .map((path) => ({ path, id: relative(root, path).replace(/\.png$/, "") }))
    .filter(({ id }) => !DRAWN.test(id) && !DRAWN_TOO.has(id))
    .map(({ path, id }) => {
      const words = path.replace(/png$/, "txt");
      const caption = existsSync(words) ? (readFileSync(words, "utf8").split("\n")[0] ?? "") : "";
      const kind = STAMP_KINDS.find(({ folder, not }) => id.startsWith(folder) && !not?.test(id))?.kind;
      return { path, id, name: NAMES[id] ?? captionName(caption), kind };
    });
}

const SKIMAGE = "python3-skimage/usr/lib/python3/dist-packages/skimage/data";
const SKLEARN = "python3-sklearn/usr/lib/python3/dist-packages/sklearn/datasets/images";
const LOMIRI = "lomiri-wallpapers-16.04/usr/share/backgrounds";

/** Whole photographs that may be passed on with their makers' names. One row each. */
export const PHOTOGRAPHS = [
  { file: `${SKIMAGE}/astronaut.png`, licence: "public domain", by: "NASA" },
  { file: `${SKIMAGE}/chelsea.png`, licence: "CC0-1.0", by: "Stefan van der Walt" },
  { file: `${SKIMAGE}/coffee.png`, licence: "CC0-1.0", by: "Rachel Michetti" },
  { file: `${SKIMAGE}/rocket.jpg`, licence: "public domain", by: "SpaceX" },
  { file: `${SKIMAGE}/hubble_deep_field.jpg`, licence: "public domain", by: "NASA" },
  { file: `${SKLEARN}/china.jpg`, licence: "CC-BY-2.0", by: "danielbuechele" },
  { file: `${SKLEARN}/flower.jpg`, licence: "CC-BY-2.0", by: "vultilion" },
  { file: `${LOMIRI}/seeding_by_Clements_Engelhardt.jpg`, licence: "CC0-1.0", by: "Clements Engelhardt" },
  { file: `${LOMIRI}/aitzgorri_by_Aitzol_Berasategi.jpg`, licence: "CC-BY-4.0", by: "Aitzol Berasategi" },
  { file: `${LOMIRI}/friends_by_Aitzol_Berasategi.jpg`, licence: "CC-BY-4.0", by: "Aitzol Berasategi" },
  { file: `${LOMIRI}/life_by_Aitzol_Berasategi.jpg`, licence: "CC-BY-4.0", by: "Aitzol Berasategi" },
  { file: `${LOMIRI}/picosdeeuropa_by_Aitzol_Berasategi.jpg`, licence: "CC-BY-4.0", by: "Aitzol Berasategi" },
  { file: `${LOMIRI}/sunset_by_Aitzol_Berasategi.jpg`, licence: "CC-BY-4.0", by: "Aitzol Berasategi" },
  { file: `${LOMIRI}/Picture_0B_by_freespace.jpg`, licence: "CC-BY-4.0", by: "freespace" },
  { file: `${LOMIRI}/Picture_1A_by_freespace.jpg`, licence: "CC-BY-4.0", by: "freespace" },
  { file: `${LOMIRI}/umang_by_Abhishek_Mudgal.jpg`, licence: "CC-BY-4.0", by: "Abhishek Mudgal" },
  { file: `${LOMIRI}/Wine_by_Jakkub_Mede.jpg`, licence: "CC-BY-4.0", by: "Jakkub Mede" },
];
