//! Which parts a part of an office document refers to.

use crate::extract::archive::{Archive, resolve};
use crate::extract::xml::{Node, Xml};

/// A reference from one part to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    /// By which the part names it.
    pub id: String,
    /// The last part of its type's address, as `officeDocument`.
    pub kind: String,
    /// The name in the archive of what it refers to.
    pub target: String,
}

/// The relations of a part, or, for the empty name, of the whole document; none where it has none.
///
/// # Errors
/// That the part that lists them is damaged.
pub(super) fn relations(archive: &mut Archive, part: &str) -> Result<Vec<Relation>, String> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let list = resolve("", &format!("{folder}/_rels/{name}.rels"));
    let Some(xml) = archive.text(&list)? else { return Ok(Vec::new()) };
    let (mut xml, mut relations) = (Xml::new(&xml), Vec::new());
    while let Some(node) = xml.next()? {
        let Node::Open(element) = node else { continue };
        let outside = element.attribute("TargetMode").is_some_and(|mode| mode == "External");
        if element.name() != "Relationship" || outside {
            continue;
        }
        if let (Some(id), Some(kind), Some(target)) =
            (element.attribute("Id"), element.attribute("Type"), element.attribute("Target"))
        {
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            relations.push(Relation { id, kind, target: resolve(part, &target) });
        }
    }
    Ok(relations)
}

/// The part that holds the document itself; `usual` where it is not said.
///
/// # Errors
/// That the list of parts is damaged.
pub(super) fn main_part(archive: &mut Archive, usual: &str) -> Result<String, String> {
    let main = relations(archive, "")?.into_iter().find(|relation| relation.kind == "officeDocument");
    Ok(main.map_or_else(|| usual.to_owned(), |main| main.target))
}
