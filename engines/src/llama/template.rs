//! The model's chat template with the places of the messages marked.
//!
//! A template turns messages into one flat string, in which text of a document and control tokens can no longer be told
//! apart. So it is applied to marks instead of texts, and its output is cut at the marks: what lies between them is the
//! template's own, the rest is filled in later, as data.

use mentor_actors::ports::Role;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text of the template: may hold control tokens.
    Template(String),
    /// The text of the message with this index: data.
    Content(usize),
}

/// What a template is applied to: who speaks, and what to put there.
pub(super) type Marked = (Role, String);

/// Between a system message and the user message it had to be merged into.
const MERGED: &str = "\n\n";

const MARK_BEGINS: &str = "@@message-";
const MARK_ENDS: &str = "@@";

/// Stands for the text of message `index`. Without spaces, which some templates trim.
fn mark(index: usize) -> String {
    format!("{MARK_BEGINS}{index}{MARK_ENDS}")
}

/// Cuts what a template made of marks at the marks.
pub(super) fn split_template(rendered: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut template = String::new();
    let mut rest = rendered;
    while let Some(start) = rest.find(MARK_BEGINS) {
        let after = &rest[start + MARK_BEGINS.len()..];
        let number = after.split_once(MARK_ENDS).and_then(|(digits, tail)| Some((digits.parse().ok()?, tail)));
        let Some((index, tail)) = number else {
            template.push_str(&rest[..start + MARK_BEGINS.len()]);
            rest = after;
            continue;
        };
        template.push_str(&rest[..start]);
        push_template(&mut pieces, &mut template);
        pieces.push(Piece::Content(index));
        rest = tail;
    }
    template.push_str(rest);
    push_template(&mut pieces, &mut template);
    pieces
}

fn push_template(pieces: &mut Vec<Piece>, template: &mut String) {
    if !template.is_empty() {
        pieces.push(Piece::Template(std::mem::take(template)));
    }
}

/// The pieces of a conversation between `roles`, every message in its place.
///
/// A template that leaves the system message out gets it merged into the first message of the user.
///
/// # Errors
/// What `render` says, or the index of a message that the template leaves out.
pub(super) fn lay_out(
    roles: &[Role],
    render: impl Fn(&[Marked]) -> Result<String, String>,
) -> Result<Vec<Piece>, String> {
    let messages: Vec<Marked> = roles.iter().enumerate().map(|(index, &role)| (role, mark(index))).collect();
    let pieces = split_template(&render(&messages)?);
    let Some(missing) = first_missing(&pieces, roles.len()) else {
        return Ok(pieces);
    };
    let user = roles.iter().position(|&role| role == Role::User);
    let (Role::System, Some(user)) = (roles[missing], user) else {
        return Err(left_out(missing));
    };
    let others: Vec<Marked> = messages.into_iter().filter(|(role, _)| *role != Role::System).collect();
    let merged = merge_system(split_template(&render(&others)?), roles, user);
    first_missing(&merged, roles.len()).map_or(Ok(merged), |missing| Err(left_out(missing)))
}

fn left_out(index: usize) -> String {
    format!("the model's chat template leaves out message {}", index + 1)
}

fn first_missing(pieces: &[Piece], messages: usize) -> Option<usize> {
    (0..messages).find(|index| !pieces.contains(&Piece::Content(*index)))
}

/// Puts all system messages before the content of message `user`.
fn merge_system(pieces: Vec<Piece>, roles: &[Role], user: usize) -> Vec<Piece> {
    let system = || (0..roles.len()).filter(|&index| roles[index] == Role::System);
    let mut merged = Vec::with_capacity(pieces.len() + 2);
    for piece in pieces {
        if piece == Piece::Content(user) {
            merged.extend(system().flat_map(|index| [Piece::Content(index), Piece::Template(MERGED.into())]));
        }
        merged.push(piece);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::User];

    fn chatml(messages: &[Marked]) -> Result<String, String> {
        let turns: String =
            messages.iter().map(|(role, text)| format!("<|im_start|>{role:?}\n{text}<|im_end|>\n")).collect();
        Ok(turns + "<|im_start|>Assistant\n")
    }

    fn template(text: &str) -> Piece {
        Piece::Template(text.into())
    }

    #[test]
    fn a_rendered_template_is_cut_at_the_marks() {
        let pieces = split_template("<s>@@message-0@@</s>\n@@message-12@@@@message-1@@");
        let expected = [template("<s>"), Piece::Content(0), template("</s>\n"), Piece::Content(12), Piece::Content(1)];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn text_that_only_looks_like_a_mark_stays_template() {
        assert_eq!(split_template("a @@message-x@@ b"), [template("a @@message-x@@ b")]);
        assert_eq!(split_template("@@message-"), [template("@@message-")]);
        assert_eq!(split_template(""), []);
    }

    #[test]
    fn every_message_has_its_place() {
        let pieces = lay_out(&CONVERSATION, chatml).unwrap();
        let contents: Vec<_> = pieces.iter().filter(|piece| matches!(piece, Piece::Content(_))).collect();
        let expected: Vec<_> = (0..4).map(Piece::Content).collect();
        assert_eq!(contents, expected.iter().collect::<Vec<_>>());
        assert_eq!(pieces.first(), Some(&template("<|im_start|>System\n")));
        assert_eq!(pieces.last(), Some(&template("<|im_end|>\n<|im_start|>Assistant\n")));
    }

    #[test]
    fn a_template_that_trims_its_messages_keeps_them() {
        let trimming = |messages: &[Marked]| {
            let trimmed: Vec<Marked> = messages.iter().map(|(role, text)| (*role, text.trim().to_owned())).collect();
            chatml(&trimmed)
        };
        assert_eq!(lay_out(&CONVERSATION, trimming), lay_out(&CONVERSATION, chatml));
    }

    #[test]
    fn a_template_that_drops_the_system_message_gets_it_with_the_first_question() {
        let dropping = |messages: &[Marked]| {
            let heard: Vec<Marked> = messages.iter().filter(|(role, _)| *role != Role::System).cloned().collect();
            chatml(&heard)
        };
        let pieces = lay_out(&CONVERSATION, dropping).unwrap();
        let begin = [template("<|im_start|>User\n"), Piece::Content(0), template("\n\n"), Piece::Content(1)];
        assert_eq!(pieces[..4], begin);
    }

    #[test]
    fn a_template_that_moves_the_system_message_keeps_it_where_it_wants_it() {
        let moving = |messages: &[Marked]| Ok(format!("[INST] {}\n\n{} [/INST]", messages[0].1, messages[1].1));
        let pieces = lay_out(&[Role::System, Role::User], moving).unwrap();
        assert_eq!(pieces[1..4], [Piece::Content(0), template("\n\n"), Piece::Content(1)]);
    }

    #[test]
    fn a_template_that_drops_anything_else_is_an_error() {
        let deaf = |messages: &[Marked]| Ok(messages[0].1.clone());
        let error = lay_out(&[Role::System, Role::User], deaf).unwrap_err();
        assert_eq!(error, "the model's chat template leaves out message 2");
        assert_eq!(lay_out(&[Role::User], |_| Err("no".into())), Err("no".to_owned()));
    }
}
