"""``slicer.app.coreIOManager()``: files into nodes and back by the nodes' own storage."""

from pathlib import Path
from typing import Any

import slicer

READERS = {
    "VolumeFile": "vtkMRMLScalarVolumeNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "TransformFile": "vtkMRMLLinearTransformNode",
}

# The archetype storage node of slicer-core does not tell its own.
VOLUME_FILES = ("NRRD (.nrrd)", "NIfTI (.nii.gz)", "NIfTI (.nii)", "MetaImage (.mha)")


class IOManager:
    """As much of ``qSlicerCoreIOManager`` as ``slicer.util`` needs to load, save and export."""

    def fileType(self, name: str) -> str:
        """The kind of a file by its ending."""
        name = str(name).lower()
        if name.endswith((".seg.nrrd", ".seg.vtm")):
            return "SegmentationFile"
        return {
            ".mrml": "SceneFile",
            ".csv": "TableFile",
            ".tsv": "TableFile",
            ".ctbl": "ColorTableFile",
        }.get(Path(name).suffix, "VolumeFile")

    def loadNodes(self, fileType: str, properties: dict, nodes: Any, *_messages: Any) -> bool:
        """Read one file into a new node."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            slicer.mrmlScene.SetURL(path)
            return bool(
                slicer.mrmlScene.Import() if not properties.get("clear") else slicer.mrmlScene.Connect()
            )
        if fileType == "VolumeFile":
            node = self._volume(path, properties)
        else:
            node = self._read(READERS[fileType], path)
        if node is not None and nodes is not None:
            if properties.get("name"):
                node.SetName(properties["name"])
            nodes.AddItem(node)
        return node is not None

    def _volume(self, path: str, properties: dict) -> Any:
        name = properties.get("name") or Path(path).name.partition(".")[0]
        options = int(bool(properties.get("labelmap"))) + 2 * int(bool(properties.get("center")))
        return slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)

    def _read(self, className: str, path: str) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass(className, Path(path).name.partition(".")[0])
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            if hasattr(node, "CreateDefaultDisplayNodes"):
                node.CreateDefaultDisplayNodes()
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None

    def fileWriterFileType(self, node: Any) -> str:
        """A word for a node's kind of file."""
        return node.GetClassName()

    def saveNodes(self, fileType: str, properties: dict, *_messages: Any) -> bool:
        """Write one node, or the scene."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            slicer.mrmlScene.SetURL(path)
            return bool(slicer.mrmlScene.Commit())
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def extractKnownExtension(self, path: str, _node: Any = None) -> str:
        """The ending, with its first part if it has two."""
        known = (".seg.nrrd", ".nii.gz", ".seq.nrrd")
        return next((one for one in known if str(path).endswith(one)), Path(path).suffix)

    def fileWriterExtensions(self, node: Any) -> list[str]:
        """Endings that a node can be written to."""
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        types = storage.GetSupportedWriteFileTypes()
        found = [types.GetValue(index) for index in range(types.GetNumberOfValues())]
        return found or list(VOLUME_FILES)

    def exportNodes(self, nodeIDs: Any, paths: Any, _properties: Any, harden: bool, *_messages: Any) -> bool:
        """Write nodes elsewhere; their own storage stays as it is."""
        if harden:
            raise NotImplementedError("The host exports nodes only in their own coordinates")
        done = True
        for nodeID, path in zip(nodeIDs, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(nodeID)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetFileName(str(path))
            done = bool(storage.WriteData(node)) and done
        return done
