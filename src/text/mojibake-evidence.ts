/**
 * Does a text look as if it had been decoded with the wrong encoding? Neighbouring characters tell: nobody writes a
 * currency sign after "â" or a box-drawing corner after "é". The classes and the table of odd neighbours below were
 * found by asking Python's ftfy 6.3.1 about pairs and triples of the characters of the encodings it repairs, so that
 * both agree on what to leave alone; nothing of its source is here.
 */

/** Characters by the company they keep in real text. */
const CLASSES = {
  joiner: "\u00a0\u00ad·–—",
  opening: "¡©«¿΄΅‘‚“„•‹\uf8ff",
  cent: "¢",
  pound: "£€",
  yen: "¥₧",
  stray: "¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊",
  legal: "§¶",
  closing: "®™»˝”›",
  degree: "°",
  acute: "´",
  number: "±∂≠≤≥²³µ¹¼½¾",
  operator: "÷⁄№∆∏∑∞∩∫≡",
  times: "×",
  root: "√",
  almost: "≈",
  lead: "ÂÃÎÐ",
  upper: "ÀÁÄÅÆÇÈÉÊËÌÍÏÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŘŚŞŠŢŤŮŰŸŹŻŽҐ",
  lower: "àßáâãäåæçèéêëìíîïðñüāăąćčďđēėęěğģīįķĺļľłŕśşšťźžżґﬁﬂ",
  round: "ÒÓÔÕÖÙÚÛòóôõöøùúûŌŐŪŲ",
  ligature: "Œœ",
  otherLower: "άέήίΰαβγδεζηθικλμνξοπρςστυφχψωабвгдежзийклмнопрстуфхцчшщъыьэюяёђѓєѕіїјљњћќўџ",
  box: "│┌┐┘├┤┬┼═║╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬▀▄█▌▐░▒▓",
} as const;

type Class = keyof typeof CLASSES;

const ACCENTED: readonly Class[] = ["lead", "upper", "lower", "ligature"];
const CURRENCY: readonly Class[] = ["cent", "pound", "yen"];
const MATH: readonly Class[] = ["number", "operator", "times", "root", "almost"];

/** Which classes are out of place after which. */
const ODD_NEIGHBOURS: readonly (readonly [before: readonly Class[], after: readonly Class[]])[] = [
  [
    ["opening", "legal"],
    ["stray", "box"],
  ],
  [
    [...CURRENCY, ...MATH],
    ["opening", "stray", "box", ...ACCENTED],
  ],
  [
    ["stray"],
    ["opening", "stray", "legal", "closing", "lead", "upper", "lower", "ligature", "box", ...CURRENCY, ...MATH],
  ],
  [
    ["closing", "lower"],
    ["stray", "lead", "upper", "box", ...CURRENCY],
  ],
  [["closing"], ["lower", "ligature"]],
  [
    ["upper", "lead"],
    ["stray", "legal", "degree", "number", "operator", "times", "root", "almost", "box"],
  ],
  [["lead"], ["joiner", "opening", "cent", "pound", "closing", "acute"]],
  [["almost"], ["cent", "degree"]],
  [["otherLower"], ["lead", "upper"]],
  [["box"], ["opening", "stray", "legal", "closing", "degree", "round", ...CURRENCY, ...MATH, ...ACCENTED]],
];

const CLASS_OF = new Map<string, Class>();
for (const [name, characters] of Object.entries(CLASSES)) {
  for (const character of characters) CLASS_OF.set(character, name as Class);
}

const ODD = new Set(
  ODD_NEIGHBOURS.flatMap(([before, after]) => before.flatMap((first) => after.map((second) => `${first} ${second}`))),
);

const anyOf = (...names: Class[]): string => names.map((name) => CLASSES[name]).join("");

const HALVES = anyOf("opening", "stray", "closing", "lead", "upper", "lower", "ligature", ...CURRENCY, ...MATH);

/** Odd neighbours that are no matter of class, and those that are odd only with a third character as a witness. */
const ODD_SEQUENCES = new RegExp(
  [
    "[ÂÃÎÐ][œŠŸšž]",
    "(?:^|[a-z] ?)[ÂÃ] |[.,?!]Â ",
    "[Œœ](?![A-Za-z])[^]",
    `[${anyOf("lower", "otherLower")}]Œ`,
    "à[²µ¼½¾¹]",
    "×[²³]",
    "√[¥®™´µø±∂≠≤≥]",
    "вЂ",
    // Half of a character lost, where the other half is left.
    `[${HALVES}]\ufffd`,
    `\ufffd[${HALVES}${CLASSES.box}\ufffd]`,
    // Greek, Russian and Arabic in UTF-8, whose first bytes all look alike; punctuation read as Greek or by a Mac.
    "[ВГРС][‚„†‡€‰‹‘“”•™›¤¦©«¬®°µ»][ВГРС]",
    "[ΒΓΞΟ][‚„†‡€‰‹‘“”•™›¤¦©«¬®°ƒ΅£¥¨ª΄»][ΒΓΞΟ]",
    "[ØÙ][·‚„†‡‰‹‘“”•¨©ª«®¯±²³´µ¶¸¹º»¼½¾¿§][ØÙ]",
    "β€[‚ƒ„†‡‰‹‘“•™\u00a0΅Ά¤¦©ª«¬\u00ad°΄]",
    "‚Ä[îïìôòúù]",
    // A sign of opening or closing in the middle of an accented word.
    `[${anyOf("upper", "lower")}][${anyOf("opening", "closing")}][\\p{L}\\p{N}_${anyOf("number")}]`,
    // A capital inside a small word, and a sign after it.
    `[a-z${anyOf("lower")}][${anyOf("upper")}][${anyOf("opening")}]`,
    `[a-z\\s${anyOf("lower")}][${anyOf("upper", "lead")}][${anyOf(...CURRENCY)}]`,
    // Two scripts in a word, and an accent without a letter.
    `[A-Za-z][ÞΆΈ-ΏΑ-Ϋά-ία-ωЀ-џ][${anyOf("stray")}]`,
  ].join("|"),
  "u",
);

/** Whether the text holds neighbours that real text does not. Never for ASCII. */
export function looksMisdecoded(text: string): boolean {
  let previous: Class | undefined;
  for (const character of text) {
    if (character >= "\x80" && character <= "\x9f") return true;
    const current = CLASS_OF.get(character);
    if (previous && current && ODD.has(`${previous} ${current}`)) return true;
    previous = current;
  }
  return ODD_SEQUENCES.test(text);
}
