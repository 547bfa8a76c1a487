"""Makes tables by the libraries that docs/attach.md names: library_tables.py DATABASE_URL

Each gets the documents of the collection `texts`, whose vectors a fake embedding looks up.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import django
import psycopg
from django.conf import settings
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGEngine, PGVector, PGVectorStore
from llama_index.core.schema import TextNode
from llama_index.vector_stores.postgres import PGVectorStore as LlamaIndexStore

DIMENSIONS = 384


class Known(Embeddings):
    """The vectors that pgfox has made of the texts."""

    def __init__(self, url: str):
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT content, embedding::text FROM pgfox.texts ORDER BY id").fetchall()
        self.vectors = {text: [float(number) for number in vector[1:-1].split(",")] for text, vector in rows}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[text]


def langchain(url: str, known: Known) -> None:
    documents = [Document(page_content=text, metadata={"source": "book"}) for text in known.vectors]
    driver = url.replace("postgresql://", "postgresql+psycopg://", 1)
    PGVector.from_documents(documents, known, connection=driver, collection_name="pages")

    async def store() -> None:
        engine = PGEngine.from_connection_string(driver)
        await engine.ainit_vectorstore_table("my_store", DIMENSIONS)
        store = await PGVectorStore.create(engine, known, "my_store")
        await store.aadd_documents(documents)
        await engine.close()

    asyncio.run(store())


def llama_index(url: str, known: Known) -> None:
    parts = urlsplit(url)
    store = LlamaIndexStore.from_params(
        host=parts.hostname,
        port=str(parts.port),
        user=parts.username,
        password=parts.password,
        database=parts.path.removeprefix("/"),
        table_name="llamaindex",
        embed_dim=DIMENSIONS,
    )
    store.add([TextNode(text=text, embedding=vector, metadata={"source": "book"}) for text, vector in known.vectors.items()])


def django_model(url: str, known: Known) -> None:
    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": parts.path.removeprefix("/"),
    }
    settings.configure(DATABASES={"default": database})
    django.setup()
    from django.db import connection, models
    from pgvector.django import VectorField

    class Book(models.Model):
        title = models.CharField(max_length=200)
        summary = models.TextField()
        source = models.CharField(max_length=20, default="book")
        added = models.DateTimeField(auto_now_add=True)
        embedding = VectorField(dimensions=DIMENSIONS, null=True)

        class Meta:
            app_label = "library"

    with connection.schema_editor() as editor:
        editor.create_model(Book)
    for text, vector in known.vectors.items():
        Book.objects.create(title="Foxes", summary=text, embedding=vector)


def main() -> None:
    url = sys.argv[1]
    known = Known(url)
    langchain(url, known)
    llama_index(url, known)
    django_model(url, known)


main()
