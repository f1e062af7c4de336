# Serves the networks of a run by NVIDIA's Triton on a GPU machine:
#   docker build -f docker/triton.Dockerfile --build-arg SERVING=runs/<task>/<time>/serving -t echotrain-serving .
#   docker run --gpus all --rm -p 8000:8000 echotrain-serving
FROM nvcr.io/nvidia/tritonserver:25.06-py3
ARG SERVING
COPY ${SERVING} /models
EXPOSE 8000 8001 8002
CMD ["tritonserver", "--model-repository=/models"]
