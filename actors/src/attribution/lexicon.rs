//! Lists of English words that attribution knows. Other languages are compared by their words alone, all of them content.
//!
//! One word a line would hide the lists, hence the `rustfmt::skip`.

/// Words that carry no claim: they are not compared.
#[rustfmt::skip]
pub(super) const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been", "being", "both",
    "but", "by", "can", "could", "did", "do", "does", "doing", "done", "each", "either", "every", "example", "for",
    "from", "had", "has", "have", "having", "he", "her", "here", "his", "how", "however", "i", "if", "in", "instance",
    "into", "is", "it", "its", "itself", "just", "let", "like", "may", "might", "must", "of", "on", "one", "only", "or",
    "other", "our", "out", "over", "own", "passage", "passages", "she", "should", "since", "so", "some", "such", "than",
    "that", "the", "their", "them", "themselves", "then", "there", "therefore", "these", "they", "this", "those",
    "though", "through", "thus", "to", "too", "under", "up", "upon", "us", "use", "used", "uses", "using", "very",
    "was", "we", "were", "what", "when", "where", "whereas", "which", "while", "who", "whose", "why", "will", "with",
    "would", "yet", "you", "your",
];

/// Words that say little by themselves: a paraphrase may add them freely.
#[rustfmt::skip]
pub(super) const LIGHT_WORDS: &[&str] = &[
    "although", "amount", "another", "become", "call", "called", "case", "certain", "come", "describe", "due", "even",
    "exactly", "find", "form", "generally", "get", "give", "go", "goes", "happen", "help", "important", "keep", "kind",
    "know", "known", "make", "many", "mean", "method", "much", "need", "normally", "number", "occur", "often",
    "particular", "people", "possible", "process", "put", "refer", "require", "result", "say", "see", "several",
    "simply", "sometimes", "still", "take", "thing", "usually", "want", "way", "work",
];

#[rustfmt::skip]
pub(super) const NEGATORS: &[&str] = &[
    "not", "no", "never", "none", "neither", "nor", "cannot", "without", "hardly",
];

/// Words after which a negator takes nothing back: "not only", "no more than".
#[rustfmt::skip]
pub(super) const SOFTENERS: &[&str] = &[
    "only", "just", "more", "less", "fewer", "later", "matter", "longer",
];

#[rustfmt::skip]
pub(super) const NUMBER_WORDS: &[(&str, &str)] = &[
    ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"), ("seven", "7"), ("eight", "8"),
    ("nine", "9"), ("ten", "10"), ("eleven", "11"), ("twelve", "12"), ("twenty", "20"), ("thirty", "30"),
    ("forty", "40"), ("fifty", "50"), ("sixty", "60"), ("hundred", "100"), ("thousand", "1000"), ("million", "1000000"),
    ("billion", "1000000000"),
];

/// Endings of words that mean much the same without them; the longest that fits is taken off.
#[rustfmt::skip]
pub(super) const ENDINGS: &[&str] = &[
    "ization", "isation", "ational", "ations", "fulness", "ation", "ition", "ively", "ously", "ement", "ments", "ially",
    "ment", "ness", "fully", "ingly", "ally", "able", "ible", "ably", "ibly", "ance", "ence", "ity", "iti", "ive",
    "ous", "ful", "ion", "est", "ent", "ant", "al", "ic", "er", "or", "ly", "li", "y", "i",
];

/// Pairs of opposites. A sentence that has one of them, where the source has only the other, says something else.
#[rustfmt::skip]
pub(super) const OPPOSITES: &[(&str, &str)] = &[
    ("increase", "decrease"), ("higher", "lower"), ("high", "low"), ("larger", "smaller"), ("large", "small"),
    ("before", "after"), ("first", "last"), ("faster", "slower"), ("fast", "slow"), ("always", "never"),
    ("best", "worst"), ("minimum", "maximum"), ("smallest", "largest"), ("shortest", "longest"), ("short", "long"),
    ("shorter", "longer"), ("left", "right"), ("upward", "downward"), ("above", "below"), ("same", "different"),
    ("rise", "fall"), ("raise", "lower"), ("top", "bottom"), ("front", "back"), ("early", "late"),
    ("easy", "difficult"), ("easy", "hard"), ("cheap", "expensive"), ("tighter", "looser"), ("shortage", "surplus"),
    ("stronger", "weaker"), ("strong", "weak"), ("true", "false"), ("positive", "negative"), ("hot", "cold"),
    ("inside", "outside"), ("oldest", "newest"), ("older", "newer"), ("converge", "diverge"), ("more", "fewer"),
    ("more", "less"), ("most", "least"), ("rich", "poor"), ("steep", "flat"), ("internal", "external"),
    ("minimise", "maximise"), ("ascending", "descending"), ("increasing", "decreasing"),
];

/// Beginnings of sentences that speak of the answer or of the student, not of the subject. In lower case.
#[rustfmt::skip]
pub(super) const IDLE_BEGINNINGS: &[&str] = &[
    "feel free", "good question", "great question", "here are", "here is", "i am sorry", "i do not know",
    "i don't know", "i hope", "i'm sorry", "in summary:", "let me know", "let's", "of course", "please", "sure",
    "thank you", "the passage does not", "the passages do not", "you're welcome",
];

/// Words that begin another part of a sentence, with a subject or an object of its own.
#[rustfmt::skip]
pub(super) const PART_BEGINNINGS: &[&str] = &[
    "against", "although", "and", "because", "but", "if", "instead", "since", "so", "than", "though", "whereas", "while",
];

/// Words that stand for something named elsewhere.
#[rustfmt::skip]
pub(super) const PRONOUNS: &[&str] = &[
    "he", "her", "his", "it", "its", "itself", "latter", "she", "such", "that", "their", "them", "these", "they", "this",
    "those", "which", "who", "whose",
];

/// Beginnings that turn a word into its opposite.
#[rustfmt::skip]
pub(super) const NEGATIVE_PREFIXES: &[&str] = &["dis", "im", "in", "ir", "non", "un"];

/// Beginnings that make opposites of one word: "overflow" and "underflow".
#[rustfmt::skip]
pub(super) const OPPOSITE_PREFIXES: &[(&str, &str)] = &[
    ("im", "ex"), ("inter", "intra"), ("out", "in"), ("over", "under"), ("up", "down"),
];
