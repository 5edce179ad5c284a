"""The table of all sources. A new kind is a file here, a settings model in
`septet.schemas.sources`, and a line in this table."""

from septet.pipelines.sources.annotated import Annotated
from septet.pipelines.sources.base import Source
from septet.pipelines.sources.cc_index import CcIndex
from septet.pipelines.sources.folder import Folder
from septet.pipelines.sources.lists import UrlList
from septet.pipelines.sources.text import Text
from septet.pipelines.sources.warc import Warc
from septet.pipelines.sources.wat import Wat
from septet.pipelines.sources.webdataset import WebDataset

SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (Warc(), Wat(), CcIndex(), UrlList(), Folder(), WebDataset(), Annotated(), Text())
}
"""Kind in the recipe to its source."""
