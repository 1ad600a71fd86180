# flops-fit with all that a cluster needs, and no study; docs/cluster.md says how the image of a study is made of it.
#   docker build --tag flops-fit .
ARG PYTHON=python:3.11-slim
FROM ${PYTHON}

ARG EXTRAS=kubernetes,s3
# for a torch without CUDA, a tenth of the size: https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL

WORKDIR /opt/flops-fit
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY flops_fit flops_fit
COPY flops_fit_assets flops_fit_assets
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# not root; what is mounted at /data must be writable by this user's group (`fs_group` in docs/cluster.md)
RUN useradd --uid 1000 --create-home study && mkdir /data /study && chown study /data
USER 1000
WORKDIR /study
ENV FLOPS_FIT_HOME=/data OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1

# no ENTRYPOINT: Kubernetes gives a run's command as arguments, which would be put after it
CMD ["flops-fit", "--help"]
