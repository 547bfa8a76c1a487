//! `pgfox collections update`: metadata indexes and aliases.

use std::time::Duration;

use clap::Args;
use pgfox_client::{Client, v1};
use tonic::Request;

use super::settings::{metadata_index, metadata_index_name};
use crate::cli::failure::Failure;

/// Longest build of an index over metadata: as good as none, since the server answers when it is built.
const MAX_INDEX_BUILD: Duration = Duration::from_secs(86_400);

/// Add and drop metadata indexes and aliases of a collection
#[derive(Args)]
#[command(override_usage = "pgfox collections update [OPTIONS] <NAME>")]
#[command(after_help = "\
Examples:
  pgfox collections update films --add-metadata-index year:number --drop-metadata-index gin
  pgfox collections update films_2 --add-alias movies     what asks for movies gets films_2 now

An alias that another collection has moves here at once. A new index is built before the command
ends.")]
pub(crate) struct Update {
    /// Name of the collection
    name: String,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Index to add: gin, or FIELD:number, FIELD:string or FIELD:time; can be repeated
    #[arg(long, value_name = "INDEX", value_parser = metadata_index)]
    add_metadata_index: Vec<v1::MetadataIndex>,
    /// Index to drop, written the same; can be repeated
    #[arg(long, value_name = "INDEX", value_parser = metadata_index)]
    drop_metadata_index: Vec<v1::MetadataIndex>,
    /// Alias to add, or to move here; can be repeated
    #[arg(long, value_name = "NAME")]
    add_alias: Vec<String>,
    /// Alias to drop; can be repeated
    #[arg(long, value_name = "NAME")]
    drop_alias: Vec<String>,
}

impl Update {
    /// Reads the collection, changes it, and returns it as it is then.
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

/// Drops, then adds what is not there yet.
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
