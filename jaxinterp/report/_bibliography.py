"""BibTeX of the works that the library's methods come from."""

import re
from collections.abc import Iterable

_ENTRIES = {
    "bau2017": """@inproceedings{bau2017,
  author    = {David Bau and Bolei Zhou and Aditya Khosla and Aude Oliva and Antonio Torralba},
  title     = {Network Dissection: Quantifying Interpretability of Deep Visual Representations},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2017}
}""",
    "benjamini1995": """@article{benjamini1995,
  author  = {Yoav Benjamini and Yosef Hochberg},
  title   = {Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing},
  journal = {Journal of the Royal Statistical Society, Series B (Methodological)},
  volume  = {57},
  number  = {1},
  pages   = {289--300},
  year    = {1995}
}""",
    "dong2017": """@article{dong2017,
  author  = {Yinpeng Dong and Hang Su and Jun Zhu and Fan Bao},
  title   = {Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples},
  journal = {arXiv preprint arXiv:1708.05493},
  year    = {2017}
}""",
    "dong2022": """@article{dong2022,
  author  = {Yinpeng Dong and Hang Su and Jun Zhu},
  title   = {Interpretability Analysis of Deep Neural Networks With Adversarial Examples},
  journal = {Acta Automatica Sinica},
  volume  = {48},
  number  = {1},
  pages   = {75--86},
  year    = {2022},
  doi     = {10.16383/j.aas.c200317}
}""",
    "eigen2014": """@inproceedings{eigen2014,
  author    = {David Eigen and Christian Puhrsch and Rob Fergus},
  title     = {Depth Map Prediction from a Single Image using a Multi-Scale Deep Network},
  booktitle = {Advances in Neural Information Processing Systems (NIPS)},
  year      = {2014}
}""",
    "goodfellow2015": """@inproceedings{goodfellow2015,
  author    = {Ian J. Goodfellow and Jonathon Shlens and Christian Szegedy},
  title     = {Explaining and Harnessing Adversarial Examples},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2015},
  note      = {arXiv:1412.6572}
}""",
    "he2016": """@inproceedings{he2016,
  author    = {Kaiming He and Xiangyu Zhang and Shaoqing Ren and Jian Sun},
  title     = {Deep Residual Learning for Image Recognition},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2016}
}""",
    "iandola2016": """@article{iandola2016,
  author  = {Forrest N. Iandola and Song Han and Matthew W. Moskewicz and Khalid Ashraf and William J. Dally and Kurt Keutzer},
  title   = {{SqueezeNet}: {AlexNet}-level accuracy with 50x fewer parameters and <0.5{MB} model size},
  journal = {arXiv preprint arXiv:1602.07360},
  year    = {2016}
}""",
    "kingma2015": """@inproceedings{kingma2015,
  author    = {Diederik P. Kingma and Jimmy Ba},
  title     = {Adam: A Method for Stochastic Optimization},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2015},
  note      = {arXiv:1412.6980}
}""",
    "krizhevsky2012": """@inproceedings{krizhevsky2012,
  author    = {Alex Krizhevsky and Ilya Sutskever and Geoffrey E. Hinton},
  title     = {{ImageNet} Classification with Deep Convolutional Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems (NIPS)},
  year      = {2012}
}""",
    "liang2020": """@inproceedings{liang2020,
  author    = {Haoyu Liang and Zhihao Ouyang and Yuyuan Zeng and Hang Su and Zihao He and Shu-Tao Xia and Jun Zhu and Bo Zhang},
  title     = {Training Interpretable Convolutional Neural Networks by Differentiating Class-specific Filters},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2020},
  note      = {arXiv:2007.08194}
}""",
    "madry2018": """@inproceedings{madry2018,
  author    = {Aleksander Madry and Aleksandar Makelov and Ludwig Schmidt and Dimitris Tsipras and Adrian Vladu},
  title     = {Towards Deep Learning Models Resistant to Adversarial Attacks},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2018},
  note      = {arXiv:1706.06083}
}""",
    "miller1995": """@article{miller1995,
  author  = {George A. Miller},
  title   = {{WordNet}: A Lexical Database for {English}},
  journal = {Communications of the ACM},
  volume  = {38},
  number  = {11},
  pages   = {39--41},
  year    = {1995}
}""",
    "mu2020": """@inproceedings{mu2020,
  author    = {Jesse Mu and Jacob Andreas},
  title     = {Compositional Explanations of Neurons},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2020},
  note      = {arXiv:2006.14032}
}""",
    "russakovsky2015": """@article{russakovsky2015,
  author  = {Olga Russakovsky and Jia Deng and Hao Su and Jonathan Krause and Sanjeev Satheesh and Sean Ma and
             Zhiheng Huang and Andrej Karpathy and Aditya Khosla and Michael Bernstein and Alexander C. Berg and Li Fei-Fei},
  title   = {{ImageNet} Large Scale Visual Recognition Challenge},
  journal = {International Journal of Computer Vision},
  volume  = {115},
  number  = {3},
  pages   = {211--252},
  year    = {2015}
}""",
    "simonyan2015": """@inproceedings{simonyan2015,
  author    = {Karen Simonyan and Andrew Zisserman},
  title     = {Very Deep Convolutional Networks for Large-Scale Image Recognition},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2015},
  note      = {arXiv:1409.1556}
}""",
    "you2021": """@inproceedings{you2021,
  author    = {Zunzhi You and Yi-Hsuan Tsai and Wei-Chen Chiu and Guanbin Li},
  title     = {Towards Interpretable Deep Networks for Monocular Depth Estimation},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2021},
  note      = {arXiv:2108.05312}
}""",
    "zhou2015": """@inproceedings{zhou2015,
  author    = {Bolei Zhou and Aditya Khosla and Agata Lapedriza and Aude Oliva and Antonio Torralba},
  title     = {Object Detectors Emerge in Deep Scene {CNNs}},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2015},
  note      = {arXiv:1412.6856}
}""",
}


def bibliography(keys: Iterable[str]) -> str:
    """The BibTeX entries of the given works.

    Args:
        keys: names such as "dong2017"; a repeated one counts once.

    Returns:
        The entries, sorted by key, a blank line between them.

    Raises:
        ValueError: a key that is not known; the message lists those that are.
    """
    wanted = sorted(set(keys))
    for key in wanted:
        if key not in _ENTRIES:
            raise ValueError(f"unknown reference {key!r}; known: {', '.join(_ENTRIES)}.")
    return "\n\n".join(_ENTRIES[key] for key in wanted)


def citations(text: str) -> tuple[str, ...]:
    """The keys that a text cites as `[key]`, in the order of their first use.

    Args:
        text: plain text such as "units are concept detectors [bau2017]".

    Returns:
        The keys, each once; what `bibliography` takes.

    Example:
        >>> citations("images [dong2017; kingma2015] of units [bau2017]")
        ('dong2017', 'kingma2015', 'bau2017')
    """
    groups = re.findall(r"\[([a-z]+\d{4}(?:; [a-z]+\d{4})*)\]", text)
    return tuple(dict.fromkeys(key for group in groups for key in group.split("; ")))
