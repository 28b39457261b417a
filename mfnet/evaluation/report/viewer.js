// Heads to turn with the mouse or a finger. One renderer draws them all, each into a canvas of its own.
(function () {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
  const data = JSON.parse(document.getElementById("heads").textContent);
  const topologies = data.topologies.map((text) => new Uint32Array(bytes(text)));
  const palette = new Uint8Array(bytes(data.palette));
  let renderer;
  try {
    renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
  } catch (error) {
    document.querySelectorAll("canvas[data-head]").forEach((canvas) => {
      canvas.replaceWith("This browser has no WebGL, which draws the heads.");
    });
    return;
  }

  function geometryOf(head) {
    const steps = new Int16Array(bytes(head.vertices));
    const indices = new Uint8Array(bytes(head.colours));
    const positions = Float32Array.from(steps, (step) => step * data.step_mm);
    const colours = new Uint8Array(indices.length * 3);
    indices.forEach((index, vertex) => colours.set(palette.subarray(3 * index, 3 * index + 3), 3 * vertex));
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(colours, 3, true));
    geometry.setIndex(new THREE.BufferAttribute(topologies[head.topology], 1));
    geometry.computeVertexNormals();
    return geometry;
  }

  // Puts a head into a scene: by its errors' colours at once, or a textured one as soon as it has been read.
  function put(head, scene, draw) {
    if (!head.glb) {
      const skin = new THREE.MeshLambertMaterial({ vertexColors: true, side: THREE.DoubleSide });
      scene.add(new THREE.Mesh(geometryOf(head), skin), new THREE.AmbientLight(0xffffff, 0.35));
      return;
    }
    new THREE.GLTFLoader().parse(bytes(head.glb), "", (content) => {
      const middle = new THREE.Box3().setFromObject(content.scene).getCenter(new THREE.Vector3());
      content.scene.scale.setScalar(1000);
      content.scene.position.copy(middle).multiplyScalar(-1000);
      // A photograph's light is in its texture already.
      scene.add(content.scene, new THREE.AmbientLight(0xffffff, 0.75));
      draw();
    });
  }

  function show(canvas) {
    const scene = new THREE.Scene();
    const head = data.heads[canvas.dataset.head];
    const light = new THREE.DirectionalLight(0xffffff, head.glb ? 0.3 : 0.8);
    scene.add(light);
    const camera = new THREE.PerspectiveCamera(24, 1, 1, 5000);
    camera.position.set(0, 0, 760);
    const controls = new THREE.TrackballControls(camera, canvas);
    controls.staticMoving = true;
    controls.rotateSpeed = 2.5;
    controls.noPan = true;
    // The wheel scrolls the page.
    controls.noZoom = true;
    // On a telephone a finger that moves up or down scrolls, and one that moves sideways turns the head.
    canvas.style.touchAction = "pan-y";

    function draw() {
      const width = canvas.clientWidth * window.devicePixelRatio, height = canvas.clientHeight * window.devicePixelRatio;
      if (!width || !height) return;
      canvas.width = width;
      canvas.height = height;
      camera.aspect = width / height;
      camera.updateProjectionMatrix();
      controls.handleResize();
      light.position.copy(camera.position).add(new THREE.Vector3(-200, 250, 0));
      renderer.setSize(width, height, false);
      renderer.outputEncoding = head.glb ? THREE.sRGBEncoding : THREE.LinearEncoding;
      renderer.render(scene, camera);
      canvas.getContext("2d").drawImage(renderer.domElement, 0, 0);
    }
    put(head, scene, draw);
    controls.addEventListener("change", draw);
    new ResizeObserver(draw).observe(canvas);
    return controls;
  }

  const shown = [];
  // Of folded sections nothing is drawn before they are opened.
  const waiting = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      waiting.unobserve(entry.target);
      shown.push(show(entry.target));
    }
  });
  document.querySelectorAll("canvas[data-head]").forEach((canvas) => waiting.observe(canvas));
  (function tick() {
    requestAnimationFrame(tick);
    shown.forEach((controls) => controls.update());
  })();
})();
