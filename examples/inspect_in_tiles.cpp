// Inspects one photograph with a bundle that looks at tiles, in C++ with OpenVINO alone.
//
//   g++ -std=c++17 -O2 examples/inspect_in_tiles.cpp -lopenvino -o inspect_in_tiles
//   ./inspect_in_tiles model/openvino photo.rgb 2048 2448 small.rgb 256 256 256 0.42
//
// model/openvino  what `roinspect export model --to openvino` has written
// photo.rgb       RGB bytes, row by row, of the photograph times tiles.scale of bundle.json; then height and width
// small.rgb       the same photograph at size_hw of bundle.json; then height and width
// 256             tiles.side
// 0.42            threshold.value
//
// Prints the score, the number of tiles and the verdict. It does what roinspect/inspection/tiles.py and looks.py
// do, and leaves out the checks of the scene that docs/deploy.md shows: a photograph without a region is not
// inspectable here, and so is one whose region needs more than 400 tiles.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <openvino/openvino.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr double kOverlap = 1.0 / 8;  // share of a tile's side by which neighbours overlap
constexpr size_t kMostTiles = 400;

std::vector<uint8_t> read(const char* path, size_t bytes) {
    std::ifstream file(path, std::ios::binary);
    std::vector<uint8_t> content{std::istreambuf_iterator<char>(file), {}};
    if (content.size() != bytes) throw std::runtime_error(std::string(path) + ": not the size that was given");
    return content;
}

// A probability per cell of a grid over the photograph.
struct Grid {
    int rows, columns;
    std::vector<float> values;
    float at(int row, int column) const {
        row = std::clamp(row, 0, rows - 1), column = std::clamp(column, 0, columns - 1);
        return values[size_t(row) * columns + column];
    }
};

// The region grown by one cell, as its border is known to a cell.
Grid widened(const Grid& region) {
    Grid grown = region;
    for (int row = 0; row < region.rows; ++row)
        for (int column = 0; column < region.columns; ++column)
            for (int down = -1; down <= 1; ++down)
                for (int across = -1; across <= 1; ++across)
                    grown.values[size_t(row) * region.columns + column] = std::max(
                        grown.at(row, column), region.at(row + down, column + across));
    return grown;
}

// Starts of intervals of `side` pixels that cover the marked cells of a line of `length` pixels.
std::set<int> starts(const std::vector<bool>& marked, int length, int side) {
    const int cells = int(marked.size());
    std::vector<std::pair<int, int>> runs;
    for (int cell = 0; cell < cells; ++cell) {
        if (!marked[cell]) continue;
        int end = cell;
        while (end < cells && marked[end]) ++end;
        const int first = cell * length / cells, last = (end * length + cells - 1) / cells;
        // What fits into one tile with what lies before it needs no tile of its own.
        if (!runs.empty() && (2 * (first - runs.back().second) < side || last - runs.back().first <= side))
            runs.back().second = last;
        else
            runs.emplace_back(first, last);
        cell = end;
    }
    const int overlap = int(std::nearbyint(side * kOverlap));
    std::set<int> found;
    for (const auto& [first, last] : runs) {
        const int count = std::max(1, int(std::ceil(double(last - first - overlap) / (side - overlap))));
        const int middle = int(std::floor((first + last - side) / 2.0));
        for (int number = 0; number < count; ++number) {
            const double start = count == 1 ? middle : first + (last - side - first) * double(number) / (count - 1);
            found.insert(std::min(std::max(0, int(std::nearbyint(start))), std::max(0, length - side)));
        }
    }
    return found;
}

// Top and left of the tiles that together show the region, in bands from top to bottom.
std::vector<std::pair<int, int>> cover(const Grid& region, int height, int width, int side) {
    std::vector<bool> rows(region.rows, false);
    for (int row = 0; row < region.rows; ++row)
        for (int column = 0; column < region.columns; ++column)
            if (region.at(row, column) >= 0.5f) rows[row] = true;
    std::vector<std::pair<int, int>> tiles;
    for (const int top : starts(rows, height, side)) {
        const int first = top * region.rows / height;
        const int last = std::min(region.rows, ((top + side) * region.rows + height - 1) / height);
        std::vector<bool> columns(region.columns, false);
        for (int row = first; row < last; ++row)
            for (int column = 0; column < region.columns; ++column)
                if (region.at(row, column) >= 0.5f) columns[column] = true;
        for (const int left : starts(columns, width, side)) tiles.emplace_back(top, left);
    }
    return tiles;
}

// The region at a pixel of the photograph, between the centres of its cells.
float gate(const Grid& region, double row, double column) {
    const int top = int(std::floor(row)), left = int(std::floor(column));
    const float down = float(row - top), across = float(column - left);
    const float above = region.at(top, left) * (1 - across) + region.at(top, left + 1) * across;
    const float below = region.at(top + 1, left) * (1 - across) + region.at(top + 1, left + 1) * across;
    return above * (1 - down) + below * down;
}

}  // namespace

int main(int, char** argv) {
    const std::string folder = argv[1];
    const int height = std::stoi(argv[3]), width = std::stoi(argv[4]);
    const size_t small_height = std::stoul(argv[6]), small_width = std::stoul(argv[7]);
    const int side = std::stoi(argv[8]);
    const double threshold = std::stod(argv[9]);
    const std::vector<uint8_t> photo = read(argv[2], size_t(height) * width * 3);
    std::vector<uint8_t> small = read(argv[5], small_height * small_width * 3);

    ov::Core core;  // once, with both models
    const auto in_float32 = ov::hint::inference_precision(ov::element::f32);
    auto coarse = core.compile_model(folder + "/graph.xml", "CPU", in_float32).create_infer_request();
    auto close = core.compile_model(folder + "/close/graph.xml", "CPU", in_float32).create_infer_request();

    // The coarse look: where is the region?
    coarse.set_tensor("image", ov::Tensor(ov::element::u8, {1, small_height, small_width, 3}, small.data()));
    coarse.infer();
    const ov::Tensor answer = coarse.get_tensor("roi_map");
    const float* cells = answer.data<float>();
    const Grid region = widened({int(answer.get_shape()[2]), int(answer.get_shape()[3]), {cells, cells + answer.get_size()}});
    const auto tiles = cover(region, height, width, side);
    if (tiles.empty() || tiles.size() > kMostTiles) {
        std::printf("nan %zu not inspectable\n", tiles.size());
        return 0;
    }

    // The close look: the map of every tile, gated by the region, blended where tiles overlap.
    std::vector<float> sum(photo.size() / 3), weight(photo.size() / 3);
    std::vector<uint8_t> tile(size_t(side) * side * 3);
    const double down = double(region.rows) / height, across = double(region.columns) / width;
    const int ramp = std::max(1, int(std::nearbyint(side * kOverlap)));
    for (const auto& [top, left] : tiles) {
        for (int row = 0; row < side; ++row)
            std::copy_n(&photo[(size_t(top + row) * width + left) * 3], side * 3, &tile[size_t(row) * side * 3]);
        close.set_tensor("image", ov::Tensor(ov::element::u8, {1, size_t(side), size_t(side), 3}, tile.data()));
        close.infer();
        const float* map = close.get_tensor("anomaly_map").data<float>();
        for (int row = 0; row < side; ++row)
            for (int column = 0; column < side; ++column) {
                const float trust = float(std::min({row + 1, side - row, ramp}) * std::min({column + 1, side - column, ramp}));
                const float inside = gate(region, (top + row + 0.5) * down - 0.5, (left + column + 0.5) * across - 0.5);
                const size_t place = size_t(top + row) * width + left + column;
                sum[place] += trust * inside * map[size_t(row) * side + column];
                weight[place] += trust;
            }
    }
    float score = 0;
    for (size_t place = 0; place < sum.size(); ++place)
        if (weight[place] > 0) score = std::max(score, sum[place] / weight[place]);
    std::printf("%.9g %zu %s\n", score, tiles.size(), score >= threshold ? "defective" : "good");
}
