//! `pgfox collections update`: changes the metadata indexes, the aliases and the ranking of a collection.

use std::time::Duration;

use clap::Args;
use pgfox_client::{Client, v1};
use tonic::Request;

use super::settings::{Ranking, metadata_index, metadata_index_name};
use crate::cli::failure::Failure;

/// Maximum time to build metadata indexes. It is long enough to mean no limit, since the server answers only when they
/// are built.
const MAX_INDEX_BUILD: Duration = Duration::from_secs(86_400);

/// Change the metadata indexes, the aliases or the full-text ranking of a collection
#[derive(Args)]
#[command(override_usage = "pgfox collections update [OPTIONS] <NAME>")]
#[command(after_help = "\
Examples:
  pgfox collections update films --add-metadata-index year:number --drop-metadata-index gin
  pgfox collections update films_2 --add-alias movies     calls for movies now reach films_2
  pgfox collections update films --k1 1.5 --b 0.5         how full-text search ranks

An alias of another collection moves here at once. The command ends when new indexes are built.")]
pub(crate) struct Update {
    /// Name of the collection
    name: String,
    #[command(flatten)]
    changes: Changes,
}

// By name, because otherwise the group would contain only the flattened struct.
#[derive(Args)]
#[group(required = true, multiple = true)]
#[group(args = ["add_metadata_index", "drop_metadata_index", "add_alias", "drop_alias", "k1", "b"])]
struct Changes {
    /// Index to add: gin, or FIELD:number, FIELD:string, FIELD:time, FIELD:boolean or FIELD:string_list; can be repeated
    #[arg(long, value_name = "INDEX", value_parser = metadata_index)]
    add_metadata_index: Vec<v1::MetadataIndex>,
    /// Index to drop, in the same form; can be repeated
    #[arg(long, value_name = "INDEX", value_parser = metadata_index)]
    drop_metadata_index: Vec<v1::MetadataIndex>,
    /// Alias to add, or to move here from another collection; can be repeated
    #[arg(long, value_name = "NAME")]
    add_alias: Vec<String>,
    /// Alias to drop; can be repeated
    #[arg(long, value_name = "NAME")]
    drop_alias: Vec<String>,
    #[command(flatten)]
    ranking: Ranking,
}

impl Update {
    /// Reads the collection, changes it, and returns the changed one.
    pub(super) async fn run(&self, client: &mut Client) -> Result<v1::Collection, Failure> {
        let response = client.get_collection(v1::GetCollectionRequest { name: self.name.clone() }).await?;
        let mut collection = response.into_inner().collection.unwrap_or_default();
        let changes = &self.changes;
        let indexes = &mut collection.metadata_indexes;
        let mut paths = Vec::new();
        if !changes.add_metadata_index.is_empty() || !changes.drop_metadata_index.is_empty() {
            paths.push("metadata_indexes".to_owned());
            change(indexes, &changes.add_metadata_index, &changes.drop_metadata_index, |index| {
                format!("metadata index {}", metadata_index_name(index))
            })?;
        }
        if !changes.add_alias.is_empty() || !changes.drop_alias.is_empty() {
            paths.push("aliases".to_owned());
            change(&mut collection.aliases, &changes.add_alias, &changes.drop_alias, |name| format!("alias {name}"))?;
        }
        let full_text = collection.full_text.get_or_insert_default();
        if let Some(k1) = changes.ranking.k1 {
            paths.push("full_text.k1".to_owned());
            full_text.k1 = Some(k1);
        }
        if let Some(b) = changes.ranking.b {
            paths.push("full_text.b".to_owned());
            full_text.b = Some(b);
        }
        let mut request = Request::new(v1::UpdateCollectionRequest {
            collection: Some(collection),
            update_mask: Some(prost_types::FieldMask { paths }),
        });
        if !changes.add_metadata_index.is_empty() {
            request.set_timeout(MAX_INDEX_BUILD);
        }
        Ok(client.update_collection(request).await?.into_inner().collection.unwrap_or_default())
    }
}

/// Drops indexes, then adds the missing ones.
fn change<T: PartialEq + Clone>(
    all: &mut Vec<T>,
    add: &[T],
    drop: &[T],
    name: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    for dropped in drop {
        if !all.contains(dropped) {
            return Err(Failure::refused(format!("the collection has no {}", name(dropped)))
                .with_hint("`pgfox collections get NAME` shows what it has"));
        }
        all.retain(|one| one != dropped);
    }
    for added in add {
        if !all.contains(added) {
            all.push(added.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: Update,
    }

    #[test]
    fn any_change_will_do_and_none_will_not() {
        for change in [&["--k1", "1.5"][..], &["--b", "0"], &["--add-alias", "a"], &["--drop-metadata-index", "gin"]] {
            let line = ["update", "films"].iter().chain(change);
            assert!(Line::try_parse_from(line).is_ok(), "{change:?}");
        }
        assert!(Line::try_parse_from(["update", "films"]).is_err());
    }
}
