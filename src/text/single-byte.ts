/**
 * Single-byte encodings as tables: what bytes 0x80 to 0xff mean in each of them.
 * Source: the Unicode consortium's mapping files. Bytes that an encoding leaves undefined mean the control character
 * of the same number, as web browsers read them. Byte strings here are "binary strings": one character a byte.
 */

export interface SingleByteEncoding {
  readonly name: string;
  /** Whether U+FFFD, the mark of a lost character, may stand for a byte (0x1a). */
  readonly markLost: boolean;
  readonly byteOf: ReadonlyMap<string, string>;
}

const LATIN_1_TOP =
  "¡¢£¤¥¦§¨©ª«¬\u00ad®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";
/** The control characters that latin-1 gives to bytes 0x80 to 0x9f. */
export const CONTROLS = Array.from({ length: 32 }, (_, index) => String.fromCharCode(0x80 + index)).join("");

// Each string is the 128 characters of bytes 0x80 to 0xff; U+0000 stands for "undefined".
const UPPER_HALVES: readonly (readonly [name: string, characters: string])[] = [
  ["latin-1", `${CONTROLS}\u00a0${LATIN_1_TOP}`],
  ["windows-1252", `€\0‚ƒ„…†‡ˆ‰Š‹Œ\0Ž\0\0‘’“”•–—˜™š›œ\0žŸ\u00a0${LATIN_1_TOP}`],
  [
    "windows-1251",
    "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\0™љ›њќћџ\u00a0ЎўЈ¤Ґ¦§Ё©Є«¬\u00ad®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
  ],
  [
    "windows-1250",
    "€\0‚\0„…†‡\0‰Š‹ŚŤŽŹ\0‘’“”•–—\0™š›śťžź\u00a0ˇ˘Ł¤Ą¦§¨©Ş«¬\u00ad®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
  ],
  [
    "windows-1253",
    "€\0‚ƒ„…†‡\0‰\0‹\0\0\0\0\0‘’“”•–—\0™\0›\0\0\0\0\u00a0΅Ά£¤¥¦§¨©\0«¬\u00ad®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ\0ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ\0",
  ],
  [
    "windows-1254",
    "€\0‚ƒ„…†‡ˆ‰Š‹Œ\0\0\0\0‘’“”•–—˜™š›œ\0\0Ÿ\u00a0¡¢£¤¥¦§¨©ª«¬\u00ad®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
  ],
  [
    "windows-1257",
    "€\0‚\0„…†‡\0‰\0‹\0¨ˇ¸\0‘’“”•–—\0™\0›\0¯˛\0\u00a0\0¢£¤\0¦§Ø©Ŗ«¬\u00ad®Æ°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
  ],
  [
    "iso-8859-2",
    `${CONTROLS}\u00a0Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u00adŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙`,
  ],
  [
    "macintosh",
    "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u00a0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
  ],
  [
    "cp437",
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0",
  ],
];

/** The encodings that UTF-8 is most often misread as, likeliest first. */
export const SINGLE_BYTE_ENCODINGS: readonly SingleByteEncoding[] = UPPER_HALVES.map(([name, characters]) => {
  const markLost = name.startsWith("windows-");
  const byteOf = new Map<string, string>();
  [...characters].forEach((character, index) => {
    const byte = String.fromCharCode(0x80 + index);
    byteOf.set(character === "\0" ? byte : character, byte);
  });
  if (markLost) byteOf.set("\ufffd", "\x1a");
  return { name, markLost, byteOf };
});

/** The character of each byte 0x80 to 0xff in windows-1252. */
export const WINDOWS_1252: readonly string[] = [...UPPER_HALVES[1]![1]].map((character, index) =>
  character === "\0" ? String.fromCharCode(0x80 + index) : character,
);

/** Every character that some windows encoding gives to a byte from `first` to `last`. */
export function windowsCharacters(first: number, last: number): string {
  const found = new Set<string>();
  for (const { markLost, byteOf } of SINGLE_BYTE_ENCODINGS) {
    if (!markLost) continue;
    for (const [character, byte] of byteOf) {
      if (byte >= String.fromCharCode(first) && byte <= String.fromCharCode(last)) found.add(character);
    }
  }
  return [...found].join("");
}

/** The text's bytes in an encoding, or undefined when it has characters that the encoding lacks. */
export function encodeSingleByte(text: string, encoding: SingleByteEncoding): string | undefined {
  let bytes = "";
  for (const character of text) {
    const byte = character < "\x80" ? character : encoding.byteOf.get(character);
    if (byte === undefined) return undefined;
    bytes += byte;
  }
  return bytes;
}
