# What `__init__.py` imports when it is first used, for type checkers and editors.
from napari_dinoad.backbones import load_backbone as load_backbone
from napari_dinoad.errors import Cancelled as Cancelled
from napari_dinoad.errors import DinoadError as DinoadError
from napari_dinoad.images.discovery import discover_scans as discover_scans
from napari_dinoad.images.readers import read_volume as read_volume
from napari_dinoad.images.volume import Geometry as Geometry
from napari_dinoad.images.volume import Volume as Volume
from napari_dinoad.normative_model.model import NormativeModel as NormativeModel
from napari_dinoad.pipeline import Detector as Detector
from napari_dinoad.pipeline import detect as detect
from napari_dinoad.pipeline import fit_folder as fit_folder
from napari_dinoad.pipeline import merge_models as merge_models
from napari_dinoad.pipeline import update_model as update_model
from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer as ArCnnScorer
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer as DpmmScorer
from napari_dinoad.scoring.memory_bank import MemoryBankScorer as MemoryBankScorer
from napari_dinoad.settings import ArCnnSettings as ArCnnSettings
from napari_dinoad.settings import CacheSettings as CacheSettings
from napari_dinoad.settings import CalibrationSettings as CalibrationSettings
from napari_dinoad.settings import ClusterSettings as ClusterSettings
from napari_dinoad.settings import DetectSettings as DetectSettings
from napari_dinoad.settings import DpmmSettings as DpmmSettings
from napari_dinoad.settings import FitSettings as FitSettings
from napari_dinoad.settings import MemoryBankSettings as MemoryBankSettings
from napari_dinoad.settings import PreprocessingSettings as PreprocessingSettings
from napari_dinoad.settings import ReadSettings as ReadSettings
from napari_dinoad.settings import preset as preset

__version__: str
