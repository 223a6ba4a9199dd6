//! Adobe's StandardEncoding (ISO 32000-1, annex D.2) where it differs from the table that pdf-extract starts from.

/// First code and the names of the glyphs from there on.
pub(super) const RUNS: &[(i64, &str)] = &[
    (39, "quoteright"),
    (96, "quoteleft"),
    (
        161,
        "exclamdown cent sterling fraction yen florin section currency quotesingle quotedblleft guillemotleft \
         guilsinglleft guilsinglright fi fl",
    ),
    (177, "endash dagger daggerdbl periodcentered"),
    (182, "paragraph bullet quotesinglbase quotedblbase quotedblright guillemotright ellipsis perthousand"),
    (191, "questiondown"),
    (193, "grave acute circumflex tilde macron breve dotaccent dieresis"),
    (202, "ring cedilla"),
    (205, "hungarumlaut ogonek caron emdash"),
    (225, "AE"),
    (227, "ordfeminine"),
    (232, "Lslash Oslash OE ordmasculine"),
    (241, "ae"),
    (245, "dotlessi"),
    (248, "lslash oslash oe germandbls"),
];
